/* The layers of a packet down to an IP packet, and from that into the one that it carries. */
#ifndef ETWCAP_ORDER_LAYERS_H
#define ETWCAP_ORDER_LAYERS_H

#include "etwcap.h"

/* EtherTypes */
enum { EC_ORDER_IPV4 = 0x0800, EC_ORDER_ARP = 0x0806, EC_ORDER_IPV6 = 0x86DD };

/* Bytes under way. */
typedef struct {
    const uint8_t *p;
    size_t n;    /* captured */
    size_t size; /* there were; not less than n */
} ec_order_span;

/* Goes on by n bytes; 0 where not so many are captured. */
static inline int ec_order_pass(ec_order_span *span, size_t n)
{
    if (span->n < n)
        return 0;
    span->p += n;
    span->n -= n;
    span->size -= n;
    return 1;
}

/* An IP packet. */
typedef struct {
    const uint8_t *p; /* the message behind its headers */
    size_t n;         /* bytes captured of it */
    size_t size;      /* bytes it has */
    const uint8_t *source, *target;
    size_t width; /* of an address */
    unsigned protocol;
    unsigned ident;
    int part; /* a fragment that is not the first one */
    int more; /* a fragment that is not the last one */
} ec_order_message;

/* The EtherType (one of the three) of a frame of that link type behind VLAN tags, PPPoE and MPLS labels, and the span
 * from there on; 0 where there is none. */
unsigned ec_order_open_frame(ec_order_span *span, unsigned link);

/* The same of what follows an EtherType, of an Ethernet frame, of a PPP packet, and of MPLS labels. */
unsigned ec_order_open_type(ec_order_span *span, unsigned type);
unsigned ec_order_open_ethernet(ec_order_span *span);
unsigned ec_order_open_ppp(ec_order_span *span);
unsigned ec_order_open_labels(ec_order_span *span);

/* Whether an IP packet can begin there: its version, and no more bytes than there are. */
int ec_order_is_ip(const ec_order_span *span);

/* Reads the headers of an IP packet; 0 where they are none. */
int ec_order_read_ip(const ec_order_span *span, ec_order_message *m);

/* From an IP packet of a tunnel into the one that it carries; 0, and nothing changed, where it carries none, or is a
 * fragment. */
int ec_order_enter(ec_order_message *m);

#endif
