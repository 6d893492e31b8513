/* Claims: that a packet is of a protocol, with what speaks for it. Internal to ipv6_*.c. */
#ifndef ETWCAP_IPV6_CLAIMS_H
#define ETWCAP_IPV6_CLAIMS_H

#include "ipv6_shape.h"
#include "ipv6_state.h"

enum { PORTS_NONE = -1, NO_CHECKSUM = -1 };

typedef struct {
    const uint8_t *p;
    size_t n, len; /* captured, and as it was */
    int whole;
    uint32_t sum; /* of the captured bytes */
    uint8_t source[16], told[16];
    int has_told, hop_limit; /* hop_limit -1: not told */
    uint64_t source_hash;
    uint32_t source_sum, source_role;
    int source_kind, own_known;
    int64_t source_index;
    int only_two; /* there are but two unicast addresses of its kind */
    int64_t sole; /* index of the only address that can be at the other end, or -1 */
} ipv6_packet;

typedef struct {
    int score;
    uint32_t protocol, how, where;
    int has_to;
    uint8_t to[16];
    int64_t ports; /* what recognises the flow: two ports, or an id; PORTS_NONE */
    int left; /* cut packets: the checksum field fits offload */
} ipv6_claim;

/* What is kept of a fragmented packet under KEY_PIECE besides its ports: the place of the last piece, in 8 bytes and
 * with the bit for more to come, and whether pieces with other places came before. */
#define PIECE_SEVERAL (UINT64_C(1) << 57)
#define PIECE_PLACES (UINT64_C(0x1FFFF) << 41)
static inline uint64_t ipv6_piece_place(uint32_t place) { return (uint64_t)(place & 0xFFF9u) << 41; }

int64_t ipv6_reverse_ports(uint32_t protocol, int64_t ports);
int ipv6_match(const ec_ipv6_state *s, const ipv6_packet *x, ipv6_claim *c, uint64_t length, uint32_t sum, int whole,
               int field, const uint8_t *groups, size_t group_count);
void ipv6_claim_best(const ec_ipv6_state *s, const ipv6_packet *x, ipv6_claim *best);

#endif
