/* From the EtherType up: IP, what it carries, and packets within packets. */
#include "headers_walk.h"

enum { ICMP = 1, IGMP = 2, IPIP = 4, TCP = 6, UDP = 17, DCCP = 33, IPV6_IN_IP = 41, ROUTING = 43, FRAGMENT = 44, GRE = 47,
       ESP = 50, AH = 51, ICMP6 = 58, DESTINATION = 60, SCTP = 132, UDP_LITE = 136 };

/* What a message's checksum covers beside the message itself. */
typedef struct {
    int64_t source, target; /* fields, or EC_NO_FIELD */
    size_t source_at, target_at, address;
    size_t size; /* of the message, as the IP header tells */
    int fragment;
} ec_pseudo;

enum { NO_SUM, FULL_SUM, PARTIAL_SUM };

static uint64_t add_words(const uint8_t *p, size_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i + 1 < n; i += 2)
        sum += ec_be16(p + i);
    return n & 1 ? sum + ((uint64_t)p[n - 1] << 8) : sum;
}

static unsigned folded(uint64_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xFFFF) + (sum >> 16);
    return (unsigned)sum;
}

static int whole(const ec_field *field)
{
    return field->size == (field->kind == EC_IPV6 ? 16 : field->kind == EC_IPV4 ? 4 : 6);
}

static int32_t distance(const ec_walk *w, const ec_field *field, size_t sum)
{
    return (int32_t)(w->base + (int64_t)sum - field->position);
}

static void set_body(ec_walk *w, int64_t number, size_t sum, int flags)
{
    if (number == EC_NO_FIELD || !whole(w->fields + number))
        return;
    ec_field *field = w->fields + number;
    field->body = distance(w, field, sum);
    field->flags = (uint8_t)(field->flags | flags);
}

static void set_header(ec_walk *w, int64_t number, size_t sum, int flags)
{
    if (number == EC_NO_FIELD || !whole(w->fields + number))
        return;
    ec_field *field = w->fields + number;
    field->header = distance(w, field, sum);
    field->flags = (uint8_t)(field->flags | flags);
}

/* An address inside a message, whose checksum is at sum. */
static void add_inside(ec_walk *w, uint8_t kind, size_t at, size_t start, size_t sum, int state, int flags)
{
    const int64_t field = ec_add_field(w, kind, at);
    if (state == FULL_SUM)
        set_body(w, field, sum, flags | ((at - start) & 1 ? EC_FIELD_ODD : 0));
}

/* Finds out what the checksum of the message at start is, and ties the addresses of its pseudo-header to it. A zero
 * that is not right was never computed and stays. */
static int tie_body(ec_walk *w, unsigned protocol, size_t start, size_t sum, size_t end, const ec_pseudo *pseudo,
                    int flags)
{
    if (end > w->n || sum + 2 > end)
        return NO_SUM;
    const unsigned value = ec_be16(w->p + sum);
    if (value == 0 && (flags & EC_FIELD_UDP))
        return NO_SUM;
    uint64_t around = 0;
    if (pseudo->address)
        around = protocol + add_words(w->p + pseudo->source_at, pseudo->address) +
                 add_words(w->p + pseudo->target_at, pseudo->address);
    const uint64_t length = pseudo->address ? pseudo->size : 0;
    const int partial = pseudo->address && (value == folded(around) || value == folded(around + length));
    if (partial || value == 0) {
        const int right = !pseudo->fragment && ec_has(w, start, pseudo->size) &&
                          folded(around + length + add_words(w->p + start, pseudo->size)) == 0xFFFF;
        if (!right && !partial)
            return NO_SUM;
        if (!right) {
            set_body(w, pseudo->source, sum, EC_FIELD_PARTIAL);
            set_body(w, pseudo->target, sum, EC_FIELD_PARTIAL);
            return PARTIAL_SUM;
        }
    }
    set_body(w, pseudo->source, sum, flags);
    set_body(w, pseudo->target, sum, flags);
    return FULL_SUM;
}

/* A packet inside a message whose checksum lies at sum (0: none to keep). */
static void walk_inside(ec_walk *w, unsigned type, size_t at, size_t end, size_t sum)
{
    if (w->depth == EC_DEEPEST || (sum && w->outer))
        return;
    const size_t before = w->outer;
    w->depth++;
    if (sum)
        w->outer = sum;
    if (type == 0x6558)
        ec_walk_ethernet(w, at);
    else
        ec_walk_network(w, type, at, end);
    w->outer = before;
    w->depth--;
}

static void walk_arp(ec_walk *w, size_t at, size_t end)
{
    w->kept = ec_least(at + 8, end);
    if (w->kept != at + 8 || w->p[at + 4] != 6 || w->p[at + 5] != 4)
        return;
    ec_add_field(w, EC_MAC, at + 8);
    ec_add_field(w, EC_IPV4, at + 14);
    ec_add_field(w, EC_MAC, at + 18);
    ec_add_field(w, EC_IPV4, at + 24);
    w->kept = at + 28;
}

/* RFC 2131, and of RFC 2132 the options that are lists of addresses. */
static void walk_dhcp(ec_walk *w, size_t start, size_t end, int state)
{
    const size_t at = start + 8, sum = start + 6;
    if (at + 44 > end)
        return;
    for (size_t i = 12; i < 28; i += 4)
        add_inside(w, EC_IPV4, at + i, start, sum, state, EC_FIELD_UDP);
    if (w->p[at + 1] == 1 && w->p[at + 2] == 6)
        add_inside(w, EC_MAC, at + 28, start, sum, state, EC_FIELD_UDP);
    for (size_t i = at + 240; i < end && w->p[i] != 255;) {
        const unsigned code = w->p[i];
        if (code == 0) {
            i++;
            continue;
        }
        if (i + 2 > end || i + 2 + w->p[i + 1] > end)
            return;
        const size_t size = w->p[i + 1], data = i + 2;
        const int list = (code >= 3 && code <= 11) || code == 28 || code == 32 || code == 41 || code == 42 || code == 44 ||
                         code == 45 || code == 50 || code == 54;
        for (size_t j = 0; list && j + 4 <= size; j += 4)
            add_inside(w, EC_IPV4, data + j, start, sum, state, EC_FIELD_UDP);
        if (code == 61 && size == 7 && w->p[data] == 1)
            add_inside(w, EC_MAC, data + 1, start, sum, state, EC_FIELD_UDP);
        i = data + size;
    }
}

static void walk_icmp(ec_walk *w, size_t at, size_t end, ec_pseudo *pseudo)
{
    w->kept = ec_least(at + 8, end);
    if (at + 8 > end)
        return;
    pseudo->address = 0;
    pseudo->source = pseudo->target = EC_NO_FIELD;
    const int state = tie_body(w, ICMP, at, at + 2, end, pseudo, 0);
    const unsigned type = w->p[at];
    if (type == 5)
        add_inside(w, EC_IPV4, at + 4, at, at + 2, state, 0);
    if ((type >= 3 && type <= 5) || type == 11 || type == 12)
        walk_inside(w, 0x0800, at + 8, end, state == FULL_SUM ? at + 2 : 0);
}

/* The options of Neighbor Discovery, RFC 4861 4.6, RFC 4191, RFC 8106 */
static void walk_neighbor_options(ec_walk *w, size_t at, size_t start, size_t end, int state)
{
    const size_t sum = start + 2;
    while (at + 8 <= end) {
        const size_t size = (size_t)w->p[at + 1] * 8;
        const unsigned type = w->p[at];
        if (size == 0)
            return;
        if (type == 1 || type == 2)
            add_inside(w, EC_MAC, at + 2, start, sum, state, 0);
        if (type == 3 && size == 32)
            add_inside(w, EC_IPV6, at + 16, start, sum, state, 0);
        if ((type == 24 || type == 25) && size >= 24)
            for (size_t i = 8; i + 16 <= size; i += 16)
                add_inside(w, EC_IPV6, at + i, start, sum, state, 0);
        if (type == 4 && at + 8 < end)
            walk_inside(w, 0x86DD, at + 8, ec_least(at + size, end), state == FULL_SUM ? sum : 0);
        at += size;
    }
}

/* RFC 4443, RFC 4861, RFC 2710, RFC 3810 */
static void walk_icmp6(ec_walk *w, size_t at, size_t end, const ec_pseudo *pseudo)
{
    w->kept = ec_least(at + 8, end);
    if (at + 8 > end)
        return;
    const size_t sum = at + 2;
    const int state = tie_body(w, ICMP6, at, sum, end, pseudo, 0);
    const unsigned type = w->p[at];
    if (type >= 1 && type <= 4)
        walk_inside(w, 0x86DD, at + 8, end, state == FULL_SUM ? sum : 0);
    if (type >= 130 && type <= 132) {
        add_inside(w, EC_IPV6, at + 8, at, sum, state, 0);
        w->kept = ec_least(at + 24, end);
        for (size_t i = at + 28; type == 130 && i < end; i += 16)
            add_inside(w, EC_IPV6, i, at, sum, state, 0);
    }
    if (type >= 133 && type <= 137) {
        const size_t addresses = type == 137 ? 2 : type >= 135 ? 1 : 0;
        for (size_t i = 0; i < addresses; i++)
            add_inside(w, EC_IPV6, at + 8 + 16 * i, at, sum, state, 0);
        walk_neighbor_options(w, type == 134 ? at + 16 : at + 8 + 16 * addresses, at, end, state);
        w->kept = end;
    }
    if (type == 143) {
        for (size_t i = at + 8; i + 4 <= end;) {
            const size_t sources = ec_be16(w->p + i + 2), extra = (size_t)w->p[i + 1] * 4;
            for (size_t j = 0; j <= sources && i + 4 + 16 * j < end; j++)
                add_inside(w, EC_IPV6, i + 4 + 16 * j, at, sum, state, 0);
            i += 20 + 16 * sources + extra;
        }
        w->kept = end;
    }
}

/* RFC 2784, RFC 2890 */
static void walk_gre(ec_walk *w, size_t at, size_t end)
{
    w->kept = ec_least(at + 4, end);
    if (at + 4 > end || (w->p[at + 1] & 7) != 0)
        return;
    const unsigned flags = w->p[at];
    const size_t sum = (flags & 0x80) ? at + 4 : 0;
    const size_t header = 4 + (flags & 0x80 ? 4U : 0U) + (flags & 0x20 ? 4U : 0U) + (flags & 0x10 ? 4U : 0U);
    w->kept = ec_least(at + header, end);
    if (!(flags & 0x40) && at + header < end)
        walk_inside(w, ec_be16(w->p + at + 2), at + header, end, sum);
}

static void walk_transport(ec_walk *w, unsigned protocol, size_t at, size_t end, ec_pseudo *pseudo)
{
    size_t header = 0;
    int state;
    switch (protocol) {
    case TCP:
        tie_body(w, TCP, at, at + 16, end, pseudo, 0);
        header = ec_has(w, at, 13) ? (size_t)(w->p[at + 12] >> 4) * 4 : 0;
        header = header < 20 ? 20 : header;
        break;
    case UDP:
    case UDP_LITE:
        state = tie_body(w, protocol, at, at + 6, end, pseudo, EC_FIELD_UDP);
        header = 8;
        if (protocol == UDP && at + 8 <= end) {
            const unsigned source = ec_be16(w->p + at), target = ec_be16(w->p + at + 2);
            if (source == 67 || source == 68 || target == 67 || target == 68)
                walk_dhcp(w, at, end, state);
        }
        break;
    case DCCP:
        tie_body(w, DCCP, at, at + 6, end, pseudo, 0);
        header = ec_has(w, at, 5) ? (size_t)w->p[at + 4] * 4 : 0;
        header = header < 12 ? 12 : header;
        break;
    case SCTP:
        header = 12;
        break;
    case IGMP:
    case ESP:
        header = 8;
        break;
    case AH:
        if (at + 8 <= end) {
            const size_t size = ((size_t)w->p[at + 1] + 2) * 4;
            const unsigned next = w->p[at];
            w->kept = ec_least(at + size, end);
            pseudo->size = pseudo->size > size ? pseudo->size - size : 0;
            if (at + size < end && next != AH)
                walk_transport(w, next, at + size, end, pseudo);
        }
        return;
    case ICMP:
        walk_icmp(w, at, end, pseudo);
        return;
    case ICMP6:
        walk_icmp6(w, at, end, pseudo);
        return;
    case IPIP:
        walk_inside(w, 0x0800, at, end, 0);
        return;
    case IPV6_IN_IP:
        walk_inside(w, 0x86DD, at, end, 0);
        return;
    case GRE:
        walk_gre(w, at, end);
        return;
    default:
        return;
    }
    w->kept = ec_least(at + header, end);
}

/* RFC 791 */
static void walk_ipv4(ec_walk *w, size_t at, size_t end)
{
    const size_t header = (size_t)(w->p[at] & 15) * 4;
    if (w->p[at] >> 4 != 4 || header < 20)
        return;
    const size_t sum = at + 10;
    ec_pseudo pseudo = {ec_add_field(w, EC_IPV4, at + 12), ec_add_field(w, EC_IPV4, at + 16), at + 12, at + 16, 4, 0, 0};
    w->kept = ec_least(at + header, end);
    if (!ec_has(w, at, 20))
        return;
    const int all = ec_has(w, at, header);
    /* a zero that is not right was left to the network card, and stays */
    const int summed = ec_be16(w->p + sum) != 0 || (all && folded(add_words(w->p + at, header)) == 0xFFFF);
    if (summed) {
        set_header(w, pseudo.source, sum, 0);
        set_header(w, pseudo.target, sum, 0);
    }
    for (size_t i = at + 20; i + 2 <= ec_least(at + header, w->n) && w->p[i] != 0;) {
        const unsigned type = w->p[i];
        const size_t size = type == 1 ? 1 : w->p[i + 1];
        if (size == 0 || (type != 1 && size < 2) || i + size > at + header)
            break;
        for (size_t j = i + 3; (type == 7 || type == 131 || type == 137) && j + 4 <= i + size; j += 4) {
            const int64_t hop = ec_add_field(w, EC_IPV4, j);
            if (summed)
                set_header(w, hop, sum, (j - at) & 1 ? EC_FIELD_ODD : 0);
        }
        i += size;
    }
    if (!all)
        return;
    const size_t total = ec_be16(w->p + at + 2);
    if (total >= header)
        end = ec_least(end, at + total);
    const unsigned fragment = ec_be16(w->p + at + 6);
    pseudo.size = total >= header ? total - header : w->n - at - header;
    pseudo.fragment = (fragment & 0x2000) != 0;
    if ((fragment & 0x1FFF) == 0 && at + header < end)
        walk_transport(w, w->p[at + 9], at + header, end, &pseudo);
}

/* RFC 8200 4.4, RFC 6275, RFC 8754: the addresses of a routing header; the last one to be reached stands in the
 * pseudo-header. */
static void walk_routing(ec_walk *w, size_t at, size_t size, ec_pseudo *pseudo)
{
    const unsigned type = w->p[at + 2], left = w->p[at + 3];
    if (type != 0 && type != 2 && type != 4)
        return;
    size_t count = (size - 8) / 16;
    if (type == 4)
        count = ec_least(count, (size_t)w->p[at + 4] + 1);
    for (size_t i = 0; i < count; i++) {
        const int64_t field = ec_add_field(w, EC_IPV6, at + 8 + 16 * i);
        if (left && i == (type == 4 ? 0 : count - 1) && ec_has(w, at + 8 + 16 * i, 16)) {
            pseudo->target = field;
            pseudo->target_at = at + 8 + 16 * i;
        }
    }
}

/* RFC 8200 */
static void walk_ipv6(ec_walk *w, size_t at, size_t end)
{
    if (w->p[at] >> 4 != 6)
        return;
    ec_pseudo pseudo = {ec_add_field(w, EC_IPV6, at + 8), ec_add_field(w, EC_IPV6, at + 24), at + 8, at + 24, 16, 0, 0};
    w->kept = ec_least(at + 40, end);
    if (!ec_has(w, at, 40))
        return;
    const size_t payload = ec_be16(w->p + at + 4);
    const size_t stop = payload ? at + 40 + payload : w->n;
    end = ec_least(end, stop);
    unsigned next = w->p[at + 6];
    size_t i = at + 40;
    while (i + 8 <= end && (next == 0 || next == ROUTING || next == FRAGMENT || next == DESTINATION || next == AH)) {
        const size_t size = next == FRAGMENT ? 8 : next == AH ? ((size_t)w->p[i + 1] + 2) * 4 : ((size_t)w->p[i + 1] + 1) * 8;
        const unsigned now = next;
        w->kept = ec_least(i + size, end);
        next = w->p[i];
        if (now == ROUTING)
            walk_routing(w, i, size, &pseudo);
        if (now == FRAGMENT && (ec_be16(w->p + i + 2) & 0xFFF8) != 0)
            return;
        pseudo.fragment |= now == FRAGMENT && (w->p[i + 3] & 1);
        i += size;
    }
    pseudo.size = stop > i ? stop - i : 0;
    if (i < end)
        walk_transport(w, next, i, end, &pseudo);
}

void ec_walk_ip(ec_walk *w, size_t at, size_t end)
{
    if (at >= end)
        return;
    if (w->p[at] >> 4 == 6)
        walk_ipv6(w, at, end);
    else
        walk_ipv4(w, at, end);
}

void ec_walk_network(ec_walk *w, unsigned type, size_t at, size_t end)
{
    w->kept = ec_least(at, end);
    while (at + 4 <= end && (type == 0x8100 || type == 0x88A8 || type == 0x9100)) {
        type = ec_be16(w->p + at + 2);
        at += 4;
        w->kept = at;
    }
    if (at >= end)
        return;
    if (type == 0x0800) {
        walk_ipv4(w, at, end);
    } else if (type == 0x86DD) {
        walk_ipv6(w, at, end);
    } else if (type == 0x0806 || type == 0x8035) {
        walk_arp(w, at, end);
    } else if (type == 0x8847 || type == 0x8848) {
        int last = 0;
        while (!last && at + 4 <= end) {
            last = w->p[at + 2] & 1;
            at += 4;
            w->kept = at;
        }
        if (last)
            ec_walk_ip(w, at, end);
    } else if (type == 0x8864 && at + 8 <= end) {
        w->kept = at + 8;
        const unsigned inside = ec_be16(w->p + at + 6);
        if (inside == 0x0021 || inside == 0x0057)
            ec_walk_ip(w, at + 8, end);
    }
}
