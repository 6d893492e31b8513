#include "order_facts.h"
#include "order_layers.h"

enum { ICMP = 1, TCP = 6, UDP = 17, ICMP6 = 58 };
enum { FIN = 1, SYN = 2 };
enum { DEEPEST = 4 }; /* tunnels in tunnels */
/* Seeds: what is hashed. */
enum { OWN_SEED = 1, TCP_SEED, QUOTE_SEED, ECHO_SEED, ARP_SEED, NEIGHBOR_SEED };

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};

typedef ec_order_message message;

static uint32_t be32(const uint8_t *p) { return (uint32_t)ec_be16(p) << 16 | ec_be16(p + 2); }
static size_t least(size_t a, size_t b) { return a < b ? a : b; }

static uint64_t mixed(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * 0x9E3779B97F4A7C15U;
    return hash ^ hash >> 32;
}

uint64_t ec_order_hash(uint64_t hash, const uint8_t *p, size_t n)
{
    for (; n >= 8; p += 8, n -= 8)
        hash = mixed(hash, ec_u64(p));
    if (n) {
        uint8_t last[8] = {0};
        memcpy(last, p, n);
        hash = mixed(hash, ec_u64(last));
    }
    return hash ? hash : 1;
}

static uint64_t address_hash(const uint8_t *address, size_t width)
{
    uint8_t whole[16];
    memcpy(whole, mapped, sizeof mapped);
    memcpy(whole + 16 - width, address, width);
    return ec_order_hash(OWN_SEED, whole, 16);
}

void ec_order_own(const uint8_t *addresses, size_t count, uint64_t *own, size_t slots)
{
    for (size_t i = 0; i < count; i++) {
        const uint64_t hash = address_hash(addresses + 16 * i, 16);
        size_t slot = (size_t)hash & (slots - 1);
        while (own[slot] && own[slot] != hash)
            slot = (slot + 1) & (slots - 1);
        own[slot] = hash;
    }
}

static int is_own(const uint8_t *address, size_t width, const uint64_t *own, size_t slots)
{
    const uint64_t hash = address_hash(address, width);
    size_t slot = (size_t)hash & (slots - 1);
    for (size_t i = 0; i < slots && own[slot]; i++, slot = (slot + 1) & (slots - 1))
        if (own[slot] == hash)
            return 1;
    return 0;
}

/* What many machines get: groups, and addresses that end as a network's broadcast address does. */
static int is_many(const uint8_t *address, size_t width)
{
    return width == 16 ? address[0] == 0xFF : address[0] >= 224 || address[3] == 0xFF;
}

/* The machine's addresses. */
typedef struct {
    const uint64_t *own;
    size_t slots;
} machine;

static uint8_t own_side(const uint8_t *source, const uint8_t *target, size_t width, const machine *here)
{
    if (here->slots == 0)
        return 0;
    return (uint8_t)((is_own(source, width, here->own, here->slots) ? EC_ORDER_SENT : 0U) |
                     (is_own(target, width, here->own, here->slots) ? EC_ORDER_RECEIVED : 0U));
}

static uint8_t side_of(const uint8_t *source, const uint8_t *target, size_t width, unsigned direction,
                       const machine *here)
{
    const unsigned side = (direction & 3) | own_side(source, target, width, here);
    return (uint8_t)(side == 0 && here->slots && is_many(target, width) ? EC_ORDER_RECEIVED : side);
}

/* RFC 9293 3.1, RFC 2018 3, RFC 7323 3.2 */
static void read_options(const uint8_t *p, size_t end, ec_order_fact *fact)
{
    for (size_t i = 20; i < end && p[i] != 0;) {
        if (p[i] == 1) {
            i++;
            continue;
        }
        if (i + 2 > end || p[i + 1] < 2 || i + p[i + 1] > end)
            return;
        if (p[i] == 5)
            for (size_t j = i + 2; j + 8 <= i + p[i + 1] && fact->sacks < EC_ORDER_BLOCKS; j += 8) {
                fact->sack[2 * fact->sacks] = be32(p + j);
                fact->sack[2 * fact->sacks + 1] = be32(p + j + 4);
                fact->sacks++;
            }
        if (p[i] == 8 && p[i + 1] == 10) {
            fact->stamp = be32(p + i + 2);
            fact->echo = be32(p + i + 6);
            fact->stamped = 1;
        }
        i += p[i + 1];
    }
}

/* One value for both ways of a connection; way is 1 when the sender is the greater one. */
static uint64_t connection(const message *m, uint8_t *way)
{
    uint8_t ends[36];
    const size_t width = m->width, one = width + 2;
    memcpy(ends, m->source, width);
    memcpy(ends + width, m->p, 2);
    memcpy(ends + one, m->target, width);
    memcpy(ends + one + width, m->p + 2, 2);
    *way = memcmp(ends, ends + one, one) > 0;
    if (*way) {
        memcpy(ends, m->target, width);
        memcpy(ends + width, m->p + 2, 2);
        memcpy(ends + one, m->source, width);
        memcpy(ends + one + width, m->p, 2);
    }
    return ec_order_hash(TCP_SEED, ends, 2 * one);
}

/* The sequence number that lies so many bytes behind another: they start again at 0. */
static uint32_t sequence_behind(uint32_t number, uint32_t bytes)
{
    return number + bytes;
}

static void read_tcp(const message *m, ec_order_fact *fact)
{
    if (m->n < 20)
        return;
    const size_t header = (size_t)(m->p[12] >> 4) * 4;
    if (header < 20 || header > m->size)
        return;
    fact->role = EC_ORDER_TCP;
    fact->key = connection(m, &fact->way);
    fact->flags = m->p[13];
    fact->seq = be32(m->p + 4);
    fact->ack = be32(m->p + 8);
    const uint32_t signals = (fact->flags & FIN ? 1U : 0U) + (fact->flags & SYN ? 1U : 0U);
    fact->end = sequence_behind(sequence_behind(fact->seq, (uint32_t)(m->size - header)), signals);
    fact->sign = (uint32_t)ec_be16(m->p + 14) << 16 | m->ident;
    read_options(m->p, least(header, m->n), fact);
}

/* By what an ICMP error quotes a packet: no checksum is among it, for that may be filled in after the capture. */
static uint64_t quoted(const message *m)
{
    uint8_t bytes[44] = {0};
    if (m->n < 8 || m->part)
        return 0;
    memcpy(bytes, m->source, m->width);
    memcpy(bytes + 16, m->target, m->width);
    bytes[32] = (uint8_t)m->protocol;
    bytes[33] = (uint8_t)(m->ident >> 8);
    bytes[34] = (uint8_t)m->ident;
    memcpy(bytes + 36, m->p, 8);
    if (m->protocol == UDP)
        bytes[42] = bytes[43] = 0;
    if (m->protocol == ICMP || m->protocol == ICMP6)
        bytes[38] = bytes[39] = 0;
    return ec_order_hash(QUOTE_SEED, bytes, sizeof bytes);
}

static void read_quotation(const message *m, ec_order_fact *fact)
{
    message inner;
    if (m->n < 8)
        return;
    const ec_order_span quotation = {m->p + 8, m->n - 8, m->n - 8};
    if (!ec_order_read_ip(&quotation, &inner))
        return;
    for (int depth = 0; depth < DEEPEST && ec_order_enter(&inner); depth++) {
    }
    if (inner.n < 8 || inner.part)
        return;
    if (inner.protocol == TCP) {
        fact->role = EC_ORDER_TCP_ERROR;
        fact->key = connection(&inner, &fact->way);
        fact->seq = be32(inner.p + 4);
        return;
    }
    fact->role = EC_ORDER_ERROR;
    fact->answer = quoted(&inner);
}

/* Question and answer by two addresses and some bytes. */
static uint64_t pair_key(uint64_t seed, const uint8_t *asker, const uint8_t *asked, size_t width, const uint8_t *p,
                         size_t n)
{
    return ec_order_hash(ec_order_hash(ec_order_hash(seed, asker, width), asked, width), p, n);
}

/* RFC 792, RFC 950: pairs of types; RFC 1812 4.3.2 tells the errors. */
static void read_icmp(const message *m, ec_order_fact *fact)
{
    if (m->n < 8)
        return;
    const unsigned type = m->p[0];
    if (type == 3 || type == 4 || type == 5 || type == 11 || type == 12) {
        read_quotation(m, fact);
        return;
    }
    fact->role = EC_ORDER_TALK;
    if (type == 8 || type == 13 || type == 15 || type == 17)
        fact->key = pair_key(ECHO_SEED << 8 | type, m->source, m->target, m->width, m->p + 4, 4);
    else if (type == 0)
        fact->answer = pair_key(ECHO_SEED << 8 | 8, m->target, m->source, m->width, m->p + 4, 4);
    else if (type == 14 || type == 16 || type == 18)
        fact->answer = pair_key(ECHO_SEED << 8 | (type - 1), m->target, m->source, m->width, m->p + 4, 4);
}

/* RFC 4443, RFC 4861 4.3, 4.4 */
static void read_icmp6(const message *m, ec_order_fact *fact)
{
    static const uint8_t nobody[16] = {0};
    if (m->n < 8 || m->width != 16)
        return;
    const unsigned type = m->p[0];
    if (type >= 1 && type <= 4) {
        read_quotation(m, fact);
        return;
    }
    fact->role = EC_ORDER_TALK;
    if (type == 128)
        fact->key = pair_key(ECHO_SEED << 8 | 128, m->source, m->target, 16, m->p + 4, 4);
    else if (type == 129)
        fact->answer = pair_key(ECHO_SEED << 8 | 128, m->target, m->source, 16, m->p + 4, 4);
    else if (type == 135 && m->n >= 24 && memcmp(m->source, nobody, 16) != 0)
        fact->key = pair_key(NEIGHBOR_SEED, m->source, m->p + 8, 16, NULL, 0);
    else if (type == 136 && m->n >= 24 && (m->p[4] & 0x40))
        fact->answer = pair_key(NEIGHBOR_SEED, m->target, m->p + 8, 16, NULL, 0);
}

/* RFC 826, for Ethernet and IPv4 */
static void read_arp(const uint8_t *p, size_t n, ec_order_fact *fact)
{
    if (n < 28 || ec_be16(p + 2) != EC_ORDER_IPV4 || p[4] != 6 || p[5] != 4 || memcmp(p + 14, p + 24, 4) == 0)
        return;
    fact->role = EC_ORDER_TALK;
    if (ec_be16(p + 6) == 1)
        fact->key = pair_key(ARP_SEED, p + 14, p + 24, 4, NULL, 0);
    else if (ec_be16(p + 6) == 2)
        fact->answer = pair_key(ARP_SEED, p + 24, p + 14, 4, NULL, 0);
}

/* What the innermost packet says. Who sent it, that one's addresses tell which the packet was carried in, when the machine
 * is an end of the tunnel; or else its own. */
static void read_packet(const ec_order_span *span, unsigned type, unsigned direction, const machine *here,
                        ec_order_fact *fact)
{
    message m;
    if (type == EC_ORDER_ARP) {
        read_arp(span->p, span->n, fact);
        if (fact->role)
            fact->side = side_of(span->p + 14, span->p + 24, 4, direction, here);
        return;
    }
    if (!ec_order_read_ip(span, &m))
        return;
    fact->side = side_of(m.source, m.target, m.width, direction, here);
    for (int depth = 0; depth < DEEPEST && ec_order_enter(&m); depth++) {
        const uint8_t side = own_side(m.source, m.target, m.width, here);
        if (side && (fact->side == 0 || fact->side == (EC_ORDER_SENT | EC_ORDER_RECEIVED)))
            fact->side = side;
    }
    if (fact->side == 0 || m.part)
        return;
    if (m.protocol == TCP) {
        read_tcp(&m, fact);
        return;
    }
    if (m.protocol == UDP && m.n >= 8) {
        const ec_datagram datagram = {m.source, m.target, m.width, m.p, m.n};
        fact->role = EC_ORDER_TALK;
        ec_order_datagram(&datagram, fact);
    } else if (m.protocol == ICMP) {
        read_icmp(&m, fact);
    } else if (m.protocol == ICMP6) {
        read_icmp6(&m, fact);
    } else {
        fact->role = EC_ORDER_TALK;
    }
    if (fact->role == EC_ORDER_TALK)
        fact->quote = quoted(&m);
}

size_t ec_order_facts(const uint8_t *buffer, size_t size, const int64_t *offset, const uint32_t *captured,
                      const uint32_t *original, const uint16_t *link, const uint8_t *direction, size_t rows,
                      const uint64_t *own, size_t slots, ec_order_fact *facts)
{
    const machine here = {own, slots};
    for (size_t i = 0; i < rows; i++) {
        if (offset[i] < 0 || (uint64_t)offset[i] > size || captured[i] > size - (size_t)offset[i])
            return i;
        ec_order_fact *fact = facts + i;
        memset(fact, 0, sizeof *fact);
        ec_order_span span = {buffer + offset[i], captured[i], original[i] > captured[i] ? original[i] : captured[i]};
        const unsigned type = ec_order_open_frame(&span, link[i]);
        if (type == 0)
            continue;
        read_packet(&span, type, direction[i], &here, fact);
        if (fact->side == 0)
            memset(fact, 0, sizeof *fact);
    }
    return rows;
}
