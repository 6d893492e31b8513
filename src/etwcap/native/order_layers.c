#include "order_layers.h"

/* LINKTYPE_ values, https://www.tcpdump.org/linktypes.html */
enum { NULL_LINK = 0, ETHERNET = 1, RAW_IP = 101, LOOP = 108, LINUX_SLL = 113, IPV4_LINK = 228, IPV6_LINK = 229,
       LINUX_SLL2 = 276 };
enum { VLAN = 0x8100, PROVIDER_VLAN = 0x88A8, OLD_QINQ = 0x9100, MPLS = 0x8847, MPLS_MULTICAST = 0x8848,
       PPPOE = 0x8864 };
enum { ROUTING = 43, FRAGMENT = 44, AH = 51, DESTINATION = 60, MOBILITY = 135, HIP = 139, SHIM6 = 140 };

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

int ec_order_is_ip(const ec_order_span *span)
{
    const uint8_t *p = span->p;
    if (span->n >= 20 && p[0] >> 4 == 4)
        return (size_t)(p[0] & 15) * 4 >= 20 && ec_be16(p + 2) <= span->size;
    return span->n >= 40 && p[0] >> 4 == 6 && ec_be16(p + 4) + 40U <= span->size;
}

static unsigned guess(const ec_order_span *span)
{
    if (!ec_order_is_ip(span))
        return 0;
    return span->p[0] >> 4 == 4 ? EC_ORDER_IPV4 : EC_ORDER_IPV6;
}

/* RFC 3032 2.1, 2.2: what follows the last label nothing says but its first bits. */
unsigned ec_order_open_labels(ec_order_span *span)
{
    int last = 0;
    for (const uint8_t *label = span->p; !last && ec_order_pass(span, 4); label = span->p)
        last = label[2] & 1;
    return last ? guess(span) : 0;
}

/* RFC 1661 2, 6.5: a protocol of one byte is odd. RFC 1332 2, RFC 5072 2 */
unsigned ec_order_open_ppp(ec_order_span *span)
{
    if (span->n < 2)
        return 0;
    const unsigned protocol = span->p[0] & 1 ? span->p[0] : ec_be16(span->p);
    (void)ec_order_pass(span, span->p[0] & 1 ? 1 : 2);
    return protocol == 0x21 ? EC_ORDER_IPV4 : protocol == 0x57 ? EC_ORDER_IPV6 : 0;
}

/* RFC 2516 4, 6 */
static unsigned open_pppoe(ec_order_span *span)
{
    if (span->n < 6 || span->p[0] != 0x11 || span->p[1] != 0)
        return 0;
    const size_t length = ec_be16(span->p + 4);
    (void)ec_order_pass(span, 6);
    span->size = least(span->size, length);
    span->n = least(span->n, length);
    return ec_order_open_ppp(span);
}

unsigned ec_order_open_type(ec_order_span *span, unsigned type)
{
    while ((type == VLAN || type == PROVIDER_VLAN || type == OLD_QINQ) && span->n >= 4) {
        type = ec_be16(span->p + 2);
        (void)ec_order_pass(span, 4);
    }
    if (type == MPLS || type == MPLS_MULTICAST)
        return ec_order_open_labels(span);
    if (type == PPPOE)
        return open_pppoe(span);
    return type == EC_ORDER_IPV4 || type == EC_ORDER_IPV6 || type == EC_ORDER_ARP ? type : 0;
}

/* A header of n bytes with the EtherType at a place. */
static unsigned open_header(ec_order_span *span, size_t n, size_t place)
{
    if (span->n < n)
        return 0;
    const unsigned type = ec_be16(span->p + place);
    (void)ec_order_pass(span, n);
    return ec_order_open_type(span, type);
}

unsigned ec_order_open_ethernet(ec_order_span *span) { return open_header(span, 14, 12); }

unsigned ec_order_open_frame(ec_order_span *span, unsigned link)
{
    switch (link) {
    case ETHERNET:
        return ec_order_open_ethernet(span);
    case LINUX_SLL:
        return open_header(span, 16, 14);
    case LINUX_SLL2:
        return open_header(span, 20, 0);
    case NULL_LINK:
    case LOOP:
        return span->n > 4 && ec_order_pass(span, 4) ? EC_ORDER_IPV4 : 0;
    case RAW_IP:
    case IPV4_LINK:
    case IPV6_LINK:
        return EC_ORDER_IPV4;
    default:
        return 0;
    }
}

/* RFC 791 3.1 */
static int read_ipv4(const ec_order_span *span, ec_order_message *m)
{
    const uint8_t *p = span->p;
    if (span->n < 20)
        return 0;
    const size_t header = (size_t)(p[0] & 15) * 4;
    if (header < 20 || header > span->n)
        return 0;
    size_t total = ec_be16(p + 2);
    if (total == 0) /* left to the network card, which cuts a large packet into several */
        total = span->size;
    if (total < header)
        return 0;
    m->p = p + header;
    m->size = total - header;
    m->n = least(span->n - header, m->size);
    m->source = p + 12;
    m->target = p + 16;
    m->width = 4;
    m->protocol = p[9];
    m->ident = ec_be16(p + 4);
    m->part = (ec_be16(p + 6) & 0x1FFF) != 0;
    m->more = (p[6] & 0x20) != 0;
    return 1;
}

static int is_extension(unsigned protocol)
{
    return protocol == 0 || protocol == ROUTING || protocol == FRAGMENT || protocol == AH || protocol == DESTINATION ||
           protocol == MOBILITY || protocol == HIP || protocol == SHIM6;
}

/* RFC 8200 3, 4 */
static int read_ipv6(const ec_order_span *span, ec_order_message *m)
{
    const uint8_t *p = span->p;
    if (span->n < 40)
        return 0;
    const size_t payload = ec_be16(p + 4);
    const size_t total = payload ? 40 + payload : span->size;
    const size_t end = least(span->n, total);
    size_t at = 40;
    m->protocol = p[6];
    m->part = m->more = 0;
    while (at + 8 <= end && is_extension(m->protocol)) {
        if (m->protocol == FRAGMENT) {
            m->part |= (ec_be16(p + at + 2) & 0xFFF8) != 0;
            m->more |= p[at + 3] & 1;
        }
        const size_t size = m->protocol == FRAGMENT ? 8
                            : m->protocol == AH     ? ((size_t)p[at + 1] + 2) * 4
                                                    : ((size_t)p[at + 1] + 1) * 8;
        m->protocol = p[at];
        at += size;
    }
    if (at > end)
        return 0;
    m->p = p + at;
    m->n = end - at;
    m->size = total - at;
    m->source = p + 8;
    m->target = p + 24;
    m->width = 16;
    m->ident = 0;
    return 1;
}

int ec_order_read_ip(const ec_order_span *span, ec_order_message *m)
{
    if (span->n < 1)
        return 0;
    return span->p[0] >> 4 == 4 ? read_ipv4(span, m) : span->p[0] >> 4 == 6 ? read_ipv6(span, m) : 0;
}
