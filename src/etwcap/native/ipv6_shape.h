/* How much the bytes behind an IPv6 header look like a protocol, in bits: what the bytes would say for it, log2 of how
 * much likelier they are in a packet of that protocol than in random bytes. Used by ipv6_rebuild.c. */
#ifndef ETWCAP_IPV6_SHAPE_H
#define ETWCAP_IPV6_SHAPE_H

#include "etwcap.h"

enum { SHAPE_NO = -1000 };

static inline uint32_t shape_be32(const uint8_t *p)
{
    return (uint32_t)ec_be16(p) << 16 | ec_be16(p + 2);
}

/* p: n captured bytes of len; n <= len. Every function gives bits, or SHAPE_NO. */
int shape_tcp(const uint8_t *p, size_t n, size_t len);
int shape_icmpv6(const uint8_t *p, size_t n, size_t len, int hop_limit);
int shape_ip(const uint8_t *p, size_t n, size_t len);
int shape_ethernet(const uint8_t *p, size_t n, size_t len);
int shape_gre(const uint8_t *p, size_t n, size_t len);
int shape_l2tp(const uint8_t *p, size_t n, size_t len);
int shape_mpls(const uint8_t *p, size_t n, size_t len);
int shape_sctp(const uint8_t *p, size_t n, size_t len);
int shape_dccp(const uint8_t *p, size_t n, size_t len);
int shape_ospf(const uint8_t *p, size_t n, size_t len);
int shape_pim(const uint8_t *p, size_t n, size_t len);
int shape_vrrp(const uint8_t *p, size_t n, size_t len);
int shape_eigrp(const uint8_t *p, size_t n, size_t len);
int shape_rsvp(const uint8_t *p, size_t n, size_t len);
int shape_fragment(const uint8_t *p, size_t n, size_t len);
int shape_ipcomp(const uint8_t *p, size_t n, size_t len);

/* Who sent and who gets the packet inside a tunnel's: IP addresses (IPv4 in the last four bytes), or MAC addresses in
 * the last six. 0 where the bytes do not tell, or where it goes to many. */
int shape_inner(uint32_t protocol, const uint8_t *p, size_t n, uint8_t *from, uint8_t *to);

#endif
