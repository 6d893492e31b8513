#include "ipv6_claims.h"

/* From this score on no other protocol is looked at; below the other one none is believed. */
enum { SURE = 30, LEAST = 4 };

static void begin(ipv6_claim *c, uint32_t protocol, int64_t ports)
{
    memset(c, 0, sizeof *c);
    c->protocol = protocol;
    c->how = EC_HOW_SHAPE;
    c->ports = ports;
    c->score = SHAPE_NO;
}

static void consider(ipv6_claim *best, const ipv6_claim *c)
{
    if (c->score > best->score)
        *best = *c;
}

static int64_t two_ports(const uint8_t *p)
{
    return (int64_t)shape_be32(p);
}

static void group(uint8_t *out, uint32_t last)
{
    memset(out, 0, 16);
    out[0] = 0xFF;
    out[1] = 2;
    out[14] = (uint8_t)(last >> 8);
    out[15] = (uint8_t)last;
}

static void claim_udp(const ec_ipv6_state *s, const ipv6_packet *x, ipv6_claim *c)
{
    const uint8_t *p = x->p;
    begin(c, 17, PORTS_NONE);
    if (x->n < 8 || x->len < 8)
        return;
    c->ports = two_ports(p);
    const size_t size = ec_be16(p + 4);
    const uint32_t field = ec_be16(p + 6), from = ec_be16(p), to = ec_be16(p + 2);
    size_t length = x->len;
    uint32_t sum = x->sum;
    int bits, whole = x->whole;
    if (size == x->len)
        bits = 17;
    else if (size == x->n) { /* the rest of the packet was never there */
        bits = 10;
        whole = 1;
        length = size;
        sum = ipv6_sum(p, size);
    }
    else if (size == 0)
        bits = x->len > 65535 ? 12 : 6;
    else if (size >= 8 && size < x->len) {
        bits = -3;
        length = size;
        whole = size <= x->n;
        sum = whole ? ipv6_sum(p, size) : 0;
    } else
        bits = -6;
    if (from == 0 && to == 0)
        bits -= 4;
    uint8_t groups[4 * 16];
    size_t count = 0;
    for (uint64_t i = 0; i < s->ports && count < 4; i++)
        if (s->port[i] == to || s->port[i] == from)
            memcpy(groups + 16 * count++, s->port_address + i * 16, 16);
    if (field == 0) {
        uint64_t value;
        bits += to == 4789 || to == 6081 || to == 2152 || to == 4341 || to == 4754 || to == 6635 ? 8 : 2;
        if (x->has_told) {
            memcpy(c->to, x->told, 16);
            c->has_to = 1;
            c->where = EC_TO_TOLD;
        }
        c->score = bits + (map_get(s, map_key(KEY_PEER, 17, x->source_hash, (uint64_t)c->ports), &value) ? 8 : 0);
        return;
    }
    c->score = bits + ipv6_match(s, x, c, length, sum, whole, (int)field, groups, count);
}

static void claim_tcp(const ec_ipv6_state *s, const ipv6_packet *x, ipv6_claim *c)
{
    begin(c, 6, PORTS_NONE);
    const int bits = shape_tcp(x->p, x->n, x->len);
    if (bits == SHAPE_NO)
        return;
    c->ports = two_ports(x->p);
    c->score = bits + ipv6_match(s, x, c, x->len, x->sum, x->whole, x->n >= 18 ? (int)ec_be16(x->p + 16) : NO_CHECKSUM, NULL, 0);
}

/* The destinations that messages of this type have. */
static size_t icmpv6_groups(const ipv6_packet *x, uint8_t *groups)
{
    const uint8_t *p = x->p;
    switch (p[0]) {
    case 1:
    case 2:
    case 3:
    case 4:
        if (x->n < 32)
            return 0;
        memcpy(groups, p + 16, 16);
        return 1;
    case 130:
        group(groups, 1);
        if (x->n < 24)
            return 1;
        memcpy(groups + 16, p + 8, 16);
        return 2;
    case 131:
        if (x->n < 24)
            return 0;
        memcpy(groups, p + 8, 16);
        return 1;
    case 132:
    case 133: group(groups, 2); return 1;
    case 134:
    case 136: group(groups, 1); return 1;
    case 135:
        if (x->n < 24)
            return 0;
        memcpy(groups, p + 8, 16);
        group(groups + 16, 0);
        groups[27] = 1;
        groups[28] = 0xFF;
        memcpy(groups + 29, p + 21, 3);
        return 2;
    case 143: group(groups, 0x16); return 1;
    case 151: group(groups, 0x6A); return 1;
    case 155: group(groups, 0x1A); return 1;
    default: return 0;
    }
}

static void claim_icmpv6(const ec_ipv6_state *s, const ipv6_packet *x, ipv6_claim *c)
{
    uint8_t groups[2 * 16];
    begin(c, 58, PORTS_NONE);
    const int bits = shape_icmpv6(x->p, x->n, x->len, x->hop_limit);
    if (bits == SHAPE_NO)
        return;
    if (x->n >= 8 && (x->p[0] == 128 || x->p[0] == 129))
        c->ports = (int64_t)ec_be16(x->p + 4) << 16 | x->p[0];
    const size_t count = x->n >= 8 ? icmpv6_groups(x, groups) : 0;
    const int match = ipv6_match(s, x, c, x->len, x->sum, x->whole, x->n >= 4 ? (int)ec_be16(x->p + 2) : NO_CHECKSUM, groups, count);
    c->score = bits + match - (x->whole && match <= 0 ? 3 : 0);
}

/* A protocol with a checksum over pseudo-header and data. length: what the pseudo-header says; covered: bytes summed;
 * field: the checksum field where an adapter may fill it in, else NO_CHECKSUM. */
static void summed(const ec_ipv6_state *s, const ipv6_packet *x, ipv6_claim *c, int bits, size_t length, size_t covered,
                   int field, uint32_t usual_group, uint32_t other_group)
{
    uint8_t groups[2 * 16];
    size_t count = 0;
    if (usual_group) {
        group(groups, usual_group);
        count = 1;
    }
    if (other_group) {
        group(groups + 16, other_group);
        count = 2;
    }
    const int there = x->whole || covered <= x->n;
    const uint32_t sum = covered == x->n ? x->sum : there ? ipv6_sum(x->p, covered) : 0;
    c->score = bits + ipv6_match(s, x, c, length, sum, there, field, groups, count);
}

static void claim_routing(const ec_ipv6_state *s, const ipv6_packet *x, ipv6_claim *best)
{
    ipv6_claim c;
    const uint8_t *p = x->p;
    int bits = shape_ospf(p, x->n, x->len);
    if (bits != SHAPE_NO) {
        const size_t size = ec_be16(p + 2), covered = size >= 16 && size <= x->len ? size : x->len;
        begin(&c, 89, PORTS_NONE);
        summed(s, x, &c, bits - 5, covered, covered, NO_CHECKSUM, 5, 6);
        consider(best, &c);
    }
    bits = shape_pim(p, x->n, x->len);
    if (bits != SHAPE_NO) {
        begin(&c, 103, PORTS_NONE);
        summed(s, x, &c, bits - 6, x->len, x->len, NO_CHECKSUM, 0x0D, 0);
        consider(best, &c);
        if ((p[0] & 15) == 1 && x->len > 8) {
            begin(&c, 103, PORTS_NONE);
            summed(s, x, &c, bits - 6, 8, 8, NO_CHECKSUM, 0, 0);
            consider(best, &c);
        }
    }
    bits = shape_vrrp(p, x->n, x->len);
    if (bits != SHAPE_NO) {
        begin(&c, 112, PORTS_NONE);
        if (p[0] == 0x21 && x->sum == 0 && x->whole) {
            c.score = bits - 7 + 15; /* CARP, and VRRP of version 2: no pseudo-header */
            c.how = EC_HOW_OWN_SUM;
        } else
            summed(s, x, &c, bits - 7, x->len, x->len, NO_CHECKSUM, 0x12, 0);
        consider(best, &c);
    }
    bits = shape_eigrp(p, x->n, x->len);
    if (bits != SHAPE_NO) {
        begin(&c, 88, PORTS_NONE);
        c.score = bits - 7 + (x->whole ? (x->sum == 0 ? 15 : -6) : 0);
        c.how = x->whole && x->sum == 0 ? EC_HOW_OWN_SUM : EC_HOW_SHAPE;
        consider(best, &c);
    }
    bits = shape_rsvp(p, x->n, x->len);
    if (bits != SHAPE_NO) {
        begin(&c, 46, PORTS_NONE);
        c.score = bits - 10 + (x->whole && x->sum == 0 ? 15 : ec_be16(p + 2) == 0 ? 6 : -4);
        c.how = x->whole && x->sum == 0 ? EC_HOW_OWN_SUM : EC_HOW_SHAPE;
        consider(best, &c);
    }
}

static uint32_t crc32c(const uint8_t *p, size_t n)
{
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < n; i++) {
        crc ^= i >= 8 && i < 12 ? 0u : p[i];
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (0x82F63B78u & (0u - (crc & 1u)));
    }
    return ~crc;
}

static void claim_transport(const ec_ipv6_state *s, const ipv6_packet *x, ipv6_claim *best)
{
    ipv6_claim c;
    const uint8_t *p = x->p;
    int bits = shape_sctp(p, x->n, x->len);
    if (bits != SHAPE_NO) {
        begin(&c, 132, two_ports(p));
        c.score = bits - 6;
        if (x->whole && bits > 0 && ec_u32(p + 8) == crc32c(p, x->n)) {
            c.score += 30;
            c.how = EC_HOW_OWN_SUM;
        }
        consider(best, &c);
    }
    bits = shape_dccp(p, x->n, x->len);
    if (bits != SHAPE_NO) {
        const size_t cover = p[5] & 15, header = (size_t)p[4] * 4 + (cover ? cover - 1 : 0) * 4;
        const size_t covered = cover == 0 || header > x->len ? x->len : header;
        begin(&c, 33, two_ports(p));
        summed(s, x, &c, bits - 9, x->len, covered, (int)ec_be16(p + 6), 0, 0);
        consider(best, &c);
    }
    if (x->n >= 8 && x->len >= 8) {
        const size_t size = ec_be16(p + 4), covered = size == 0 ? x->len : size;
        if (covered >= 8 && covered <= x->len && ec_be16(p + 6) != 0) {
            begin(&c, 136, two_ports(p));
            summed(s, x, &c, (size == x->len ? 16 : size <= 20 ? 6 : 0) - 10, x->len, covered, (int)ec_be16(p + 6), 0, 0);
            if (c.how != EC_HOW_SHAPE)
                consider(best, &c);
        }
    }
}

static void tunnel(ipv6_claim *best, uint32_t protocol, int bits, int prior)
{
    ipv6_claim c;
    if (bits == SHAPE_NO)
        return;
    begin(&c, protocol, 0);
    c.score = bits - prior;
    consider(best, &c);
}

static void claim_tunnels(const ec_ipv6_state *s, const ipv6_packet *x, ipv6_claim *best)
{
    const uint8_t *p = x->p;
    const size_t n = x->n, len = x->len;
    uint64_t value;
    tunnel(best, p[0] >> 4 == 6 ? 41 : 4, shape_ip(p, n, len), 5);
    tunnel(best, 47, shape_gre(p, n, len), 6);
    tunnel(best, 115, shape_l2tp(p, n, len), 10);
    tunnel(best, 137, shape_mpls(p, n, len), 10);
    if (n >= 16 && p[0] == 0x30 && p[1] == 0)
        tunnel(best, 97, 12 + shape_ethernet(p + 2, n - 2, len - 2), 8);
    tunnel(best, 143, shape_ethernet(p, n, len), 14);
    int bits = shape_fragment(p, n, len);
    if (bits != SHAPE_NO) {
        ipv6_claim c;
        begin(&c, 44, PORTS_NONE);
        c.score = bits - 5;
        if (map_get(s, map_key(KEY_PIECE, 0, x->source_hash, shape_be32(p + 4)), &value) &&
            (value & PIECE_PLACES) != ipv6_piece_place(ec_be16(p + 2))) {
            c.score += 12;
            c.how = EC_HOW_FLOW;
        }
        consider(best, &c);
    }
    tunnel(best, 108, shape_ipcomp(p, n, len), 12);
    if (n >= 8 && x->whole && x->sum == 0 && (p[0] <= 18) && p[1] <= 15)
        tunnel(best, 1, 6 + 15, 14);
    if (n >= 8 && len % 4 == 0 && shape_be32(p) >= 256 && shape_be32(p + 4) != 0) {
        const uint32_t sequence = shape_be32(p + 4);
        ipv6_claim c;
        uint32_t runs = 0;
        if (map_get(s, map_key(KEY_SERIES, 0, x->source_hash, shape_be32(p)), &value))
            runs = (uint32_t)(value >> 32) & 255;
        begin(&c, 50, 0);
        c.score = 2 - 7 + (sequence < 4096 ? 14 : sequence < 1 << 20 ? 8 : 0) + (runs > 3 ? 18 : (int)runs * 6) - (len < 28 ? 6 : 0);
        if (runs > 0)
            c.how = EC_HOW_SERIES;
        consider(best, &c);
    }
}

/* The best claim about the packet; its protocol is 255 where none is good enough. */
void ipv6_claim_best(const ec_ipv6_state *s, const ipv6_packet *x, ipv6_claim *best)
{
    ipv6_claim c;
    begin(best, 255, PORTS_NONE);
    if (x->len == 0) {
        begin(best, 59, PORTS_NONE);
        best->score = 10;
        best->how = EC_HOW_EMPTY;
        return;
    }
    if (x->n < 4) {
        best->how = EC_HOW_UNKNOWN;
        return;
    }
    const int like_udp = x->n >= 8 && ec_be16(x->p + 4) == x->len;
    for (int turn = 0; turn < 2 && best->score < SURE; turn++) {
        if (like_udp == (turn == 0))
            claim_udp(s, x, &c);
        else
            claim_tcp(s, x, &c);
        consider(best, &c);
    }
    if (best->score < SURE) {
        claim_icmpv6(s, x, &c);
        consider(best, &c);
    }
    if (best->score < SURE) {
        claim_routing(s, x, best);
        claim_transport(s, x, best);
        claim_tunnels(s, x, best);
    }
    if (best->score < LEAST) {
        begin(best, 255, PORTS_NONE);
        best->how = EC_HOW_UNKNOWN;
        best->score = 0;
    }
}
