/* Tunnels: IP packets that carry others. Fields that tell of no packet, or of more bytes than there are, end the walk. */
#include "order_layers.h"

/* Protocol numbers, UDP ports and EtherTypes as IANA assigns them. */
enum { IPV4_IN_IP = 4, UDP = 17, IPV6_IN_IP = 41, GRE = 47, ETHERIP = 97, L2TP = 115, MPLS_IN_IP = 137 };
enum { GTP_PORT = 2152, TEREDO_PORT = 3544, VXLAN_PORT = 4789, GENEVE_PORT = 6081 };
enum { BRIDGED = 0x6558, PPTP = 0x880B };

/* What follows an EtherType, bridged frames among it. */
static unsigned open_any(ec_order_span *span, unsigned type)
{
    return type == BRIDGED ? ec_order_open_ethernet(span) : ec_order_open_type(span, type);
}

/* RFC 2637 4.1; RFC 1331 3.1: address and control, which may be left out */
static unsigned open_pptp(ec_order_span *span)
{
    const unsigned flags = ec_be16(span->p);
    if ((flags & 0xFF7F) != 0x3001 || !ec_order_pass(span, flags & 0x0080 ? 16 : 12)) /* one with payload has a number */
        return 0;
    if (span->n >= 2 && ec_be16(span->p) == 0xFF03)
        (void)ec_order_pass(span, 2);
    return ec_order_open_ppp(span);
}

/* RFC 2784 2, RFC 2890 2; RFC 1701 has routing, which nobody sends */
static unsigned open_gre(ec_order_span *span)
{
    if (span->n < 4)
        return 0;
    const unsigned flags = ec_be16(span->p), type = ec_be16(span->p + 2);
    if (type == PPTP)
        return open_pptp(span);
    if (flags & 0x4FFF)
        return 0;
    const size_t size = 4 + (flags & 0x8000 ? 4U : 0U) + (flags & 0x2000 ? 4U : 0U) + (flags & 0x1000 ? 4U : 0U);
    return ec_order_pass(span, size) ? open_any(span, type) : 0;
}

/* RFC 3378 3 */
static unsigned open_etherip(ec_order_span *span)
{
    if (span->n < 2 || ec_be16(span->p) != 0x3000)
        return 0;
    (void)ec_order_pass(span, 2);
    return ec_order_open_ethernet(span);
}

/* Whether an IP packet takes up all of the span, but for what fills an Ethernet frame to its 60 bytes; of IPv4 with its
 * checksum right. */
static int is_exactly_ip(const ec_order_span *span)
{
    const uint8_t *p = span->p;
    if (!ec_order_is_ip(span))
        return 0;
    size_t total = ec_be16(p + 4) + 40U;
    if (p[0] >> 4 == 4) {
        const size_t header = (size_t)(p[0] & 15) * 4;
        uint32_t sum = 0;
        if (header > span->n)
            return 0;
        for (size_t i = 0; i < header; i += 2)
            sum += ec_be16(p + i);
        if ((sum & 0xFFFF) + (sum >> 16) != 0xFFFF)
            return 0;
        total = ec_be16(p + 2);
    }
    return total == span->size || (total < span->size && span->size == 46);
}

/* RFC 3931 4.1.1.1, 4.6: the packet does not say how long its cookie is (0, 4 or 8 bytes), nor whether the sublayer of 4
 * bytes is there. It is read where all of them but one make no sense. */
static unsigned open_l2tp(ec_order_span *span)
{
    unsigned found = 0, ways = 0;
    ec_order_span result = *span;
    if (span->n < 4 || (ec_be16(span->p) | ec_be16(span->p + 2)) == 0) /* control */
        return 0;
    for (size_t at = 4; at <= 16; at += 4) {
        ec_order_span here = *span;
        const unsigned type = ec_order_pass(&here, at) ? ec_order_open_ethernet(&here) : 0;
        if (type == 0 || type == EC_ORDER_ARP || !is_exactly_ip(&here))
            continue;
        found = type;
        result = here;
        ways++;
    }
    *span = result;
    return ways == 1 ? found : 0;
}

/* RFC 7348 5 */
static unsigned open_vxlan(ec_order_span *span)
{
    if (span->n < 8 || (span->p[0] & 0x0C) != 0x08) /* 4 is the generic extension's, which has other fields */
        return 0;
    (void)ec_order_pass(span, 8);
    return ec_order_open_ethernet(span);
}

/* RFC 8926 3.4 */
static unsigned open_geneve(ec_order_span *span)
{
    if (span->n < 8 || span->p[0] >> 6 != 0 || (span->p[1] & 0x80)) /* another version, control */
        return 0;
    const unsigned type = ec_be16(span->p + 2);
    return ec_order_pass(span, 8 + (size_t)(span->p[0] & 0x3F) * 4) ? open_any(span, type) : 0;
}

/* 3GPP TS 29.281 5.1, 5.2: a G-PDU, with extension headers */
static unsigned open_gtp(ec_order_span *span)
{
    if (span->n < 8 || (span->p[0] & 0xF0) != 0x30 || span->p[1] != 255)
        return 0;
    const unsigned flags = span->p[0] & 7;
    (void)ec_order_pass(span, 8);
    if (flags) {
        if (span->n < 4)
            return 0;
        unsigned next = flags & 4 ? span->p[3] : 0;
        (void)ec_order_pass(span, 4);
        while (next) {
            const size_t size = span->n ? (size_t)span->p[0] * 4 : 0;
            if (size == 0 || span->n < size)
                return 0;
            next = span->p[size - 1];
            (void)ec_order_pass(span, size);
        }
    }
    return span->n && span->p[0] >> 4 == 4 ? EC_ORDER_IPV4 : EC_ORDER_IPV6;
}

/* RFC 4380 5.1.1: authentication and origin may stand before the packet */
static unsigned open_teredo(ec_order_span *span)
{
    if (span->n >= 4 && ec_be16(span->p) == 1 && !ec_order_pass(span, 13 + (size_t)span->p[2] + span->p[3]))
        return 0;
    if (span->n >= 2 && ec_be16(span->p) == 0 && !ec_order_pass(span, 8))
        return 0;
    return span->n && span->p[0] >> 4 == 6 ? EC_ORDER_IPV6 : 0;
}

static unsigned open_udp(ec_order_span *span)
{
    if (span->n < 8)
        return 0;
    const unsigned source = ec_be16(span->p), target = ec_be16(span->p + 2);
    const size_t length = ec_be16(span->p + 4); /* 0: left to the network card, or a jumbogram */
    if (length && (length < 8 || length > span->size))
        return 0;
    if (length) {
        span->size = length;
        span->n = span->n < length ? span->n : length;
    }
    (void)ec_order_pass(span, 8);
    if (target == VXLAN_PORT)
        return open_vxlan(span);
    if (target == GENEVE_PORT)
        return open_geneve(span);
    if (target == GTP_PORT)
        return open_gtp(span);
    return source == TEREDO_PORT || target == TEREDO_PORT ? open_teredo(span) : 0;
}

static unsigned open_tunnel(ec_order_span *span, unsigned protocol)
{
    switch (protocol) {
    case IPV4_IN_IP:
        return EC_ORDER_IPV4;
    case IPV6_IN_IP:
        return EC_ORDER_IPV6;
    case UDP:
        return open_udp(span);
    case GRE:
        return open_gre(span);
    case ETHERIP:
        return open_etherip(span);
    case L2TP:
        return open_l2tp(span);
    case MPLS_IN_IP:
        return ec_order_open_labels(span);
    default:
        return 0;
    }
}

int ec_order_enter(ec_order_message *m)
{
    ec_order_span span = {m->p, m->n, m->size};
    ec_order_message inner;
    if (m->part || m->more)
        return 0;
    const unsigned type = open_tunnel(&span, m->protocol);
    if (type == 0 || !ec_order_is_ip(&span) || span.p[0] >> 4 != (type == EC_ORDER_IPV4 ? 4 : 6) ||
        !ec_order_read_ip(&span, &inner))
        return 0;
    *m = inner;
    return 1;
}
