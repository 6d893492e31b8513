#include "ipv6_claims.h"

/* Learning needs this much; a series of numbers may have gaps of this width. */
enum { CERTAIN = 18, WIDEST_STEP = 1024, ENOUGH_VOTES = 3, LEAST_BYTES = 16 };

/* What stands for the count of bytes when a fragmented packet was whole; its sum then is 1 where the piece
 * that made it whole began it, too. */
enum { ALL_JOINED = 0xFFFFF };

/* ------------------------------------------------------------------------------------- who else could it be ---- */

typedef struct {
    int64_t own_count[2], other_count[2];
    int64_t own[2], other[2][2];
    int own_known;
} ipv6_census;

static void take_census(const ec_ipv6_state *s, ipv6_census *census)
{
    memset(census, 0, sizeof *census);
    for (uint64_t i = 0; i < s->count; i++) {
        const int kind = ipv6_kind(s->address + i * 16);
        if (kind != ADDRESS_LINK && kind != ADDRESS_GLOBAL)
            continue;
        const int k = kind == ADDRESS_GLOBAL;
        if (s->role[i] & EC_ROLE_OWN) {
            census->own[k] = (int64_t)i;
            census->own_count[k]++;
        } else {
            if (census->other_count[k] < 2)
                census->other[k][census->other_count[k]] = (int64_t)i;
            census->other_count[k]++;
        }
    }
    census->own_known = census->own_count[0] + census->own_count[1] > 0;
}

/* The only address that can be at the other end of a unicast packet from this source, or -1. */
static int64_t sole(const ipv6_census *census, const ipv6_packet *x)
{
    if (x->source_kind == ADDRESS_LOOPBACK)
        return x->source_index;
    if (x->source_kind != ADDRESS_LINK && x->source_kind != ADDRESS_GLOBAL)
        return -1;
    const int k = x->source_kind == ADDRESS_GLOBAL;
    if (census->own_known) {
        if (x->source_role & EC_ROLE_OWN)
            return census->other_count[k] == 1 ? census->other[k][0] : -1;
        return census->own_count[k] == 1 ? census->own[k] : -1;
    }
    if (census->other_count[k] != 2)
        return -1;
    if (census->other[k][0] == x->source_index)
        return census->other[k][1];
    return census->other[k][1] == x->source_index ? census->other[k][0] : -1;
}

/* Whether there are but two unicast addresses of the source's kind. */
static int only_two(const ipv6_census *census, const ipv6_packet *x)
{
    const int k = x->source_kind == ADDRESS_GLOBAL;
    return (x->source_kind == ADDRESS_LINK || k) && census->own_count[k] + census->other_count[k] == 2;
}

/* ------------------------------------------------------------------------- destinations without a checksum ---- */

static int sent_to(const ec_ipv6_state *s, ipv6_claim *c, int64_t index, uint32_t where)
{
    if (index < 0 || (uint64_t)index >= s->count)
        return 0;
    memcpy(c->to, s->address + (size_t)index * 16, 16);
    c->has_to = 1;
    c->where = where;
    return 1;
}

static int sent_to_group(ipv6_claim *c, uint32_t last)
{
    memset(c->to, 0, 16);
    c->to[0] = 0xFF;
    c->to[1] = 2;
    c->to[14] = (uint8_t)(last >> 8);
    c->to[15] = (uint8_t)last;
    c->has_to = 1;
    c->where = EC_TO_KIND;
    return 1;
}

/* The one address under a key; it must not be the packet's own source. */
static int64_t one_voted(const ec_ipv6_state *s, uint64_t key, const ipv6_packet *x, uint32_t least)
{
    uint64_t value;
    if (!map_get(s, key, &value) || vote_several(value) || vote_hits(value) < least)
        return -1;
    return (int64_t)vote_index(value) == x->source_index ? -1 : (int64_t)vote_index(value);
}

static int64_t peer_of(const ec_ipv6_state *s, const ipv6_packet *x, uint32_t protocol, int64_t ports, uint32_t least)
{
    if (ports == PORTS_NONE)
        return -1;
    return one_voted(s, map_key(KEY_PEER, protocol, x->source_hash, (uint64_t)ports), x, least);
}

/* Whether a service that talks to groups has this port. */
static int serves_groups(const ec_ipv6_state *s, uint32_t port)
{
    for (uint64_t i = 0; i < s->ports; i++)
        if (s->port[i] == port)
            return 1;
    return 0;
}

/* Whether ports alone tell a flow: an echo's identifier and two equal ports serve several destinations, and a whole
 * packet whose checksum does not agree with the flow's destination rather went to another one. A service that talks to
 * groups and to hosts from the same port never does. */
static int ports_tell(const ec_ipv6_state *s, const ipv6_packet *x, uint32_t protocol, int64_t ports)
{
    const int equal = ports >> 16 == (ports & 0xFFFF);
    if (protocol == 17 && equal && serves_groups(s, (uint32_t)(ports & 0xFFFF)))
        return 0;
    return !x->whole || protocol == 6 || (protocol != 58 && !equal);
}

static int by_kind(const ec_ipv6_state *s, const ipv6_packet *x, ipv6_claim *c)
{
    const uint8_t *p = x->p;
    if (c->protocol == 58 && x->n >= 8) {
        switch (p[0]) {
        case 1:
        case 2:
        case 3:
        case 4:
            if (x->n < 32 || ipv6_kind(p + 16) == ADDRESS_NONE || ipv6_kind(p + 16) == ADDRESS_GROUP)
                return 0;
            memcpy(c->to, p + 16, 16);
            c->has_to = 1;
            c->where = EC_TO_KIND;
            return 1;
        case 133: return sent_to_group(c, 2);
        case 135:
            if (x->n < 24 || x->source_kind != ADDRESS_NONE)
                return 0;
            sent_to_group(c, 0);
            c->to[11] = 1;
            c->to[12] = 0xFF;
            memcpy(c->to + 13, p + 21, 3);
            return 1;
        case 143: return sent_to_group(c, 0x16);
        default: return 0;
        }
    }
    if (c->protocol == 17 && x->source_kind == ADDRESS_LINK) {
        const uint32_t from = ec_be16(p), to = ec_be16(p + 2);
        if (from == 521 && to == 521)
            return sent_to_group(c, 9);
        if (from != 5355 && to == 5355)
            sent_to_group(c, 3);
        else if (from == 546 && to == 547)
            sent_to_group(c, 2);
        else
            return 0;
        c->to[13] = 1;
        return 1;
    }
    if (c->protocol == 46 && (p[1] == 1 || p[1] == 5) && x->n >= 28 && shape_be32(p + 8) == 0x00180102)
        return sent_to(s, c, ipv6_find(s, p + 12, ipv6_hash(p + 12)), EC_TO_KIND); /* a path, to its session's address */
    if (c->protocol == 88 && c->how == EC_HOW_OWN_SUM && p[1] == 5 && shape_be32(p + 12) == 0)
        return sent_to_group(c, 0x0A);
    if (c->protocol == 112 && (c->how == EC_HOW_OWN_SUM || !x->whole))
        return sent_to_group(c, 0x12);
    if (c->protocol == 89 && !x->whole && p[1] == 1 && x->source_kind == ADDRESS_LINK)
        return sent_to_group(c, 5); /* hellos */
    if (c->protocol == 103 && !x->whole && (p[0] == 0x20 || p[0] == 0x23))
        return sent_to_group(c, 0x0D); /* hellos, joins and prunes */
    return 0;
}

/* The number by which routers acknowledge a packet of EIGRP: sequence at 8 or acknowledgement at 12, of their system. */
static uint64_t eigrp_number(const uint8_t *p, size_t at)
{
    return (uint64_t)ec_be16(p + 18) << 32 | shape_be32(p + at);
}

/* Routers acknowledge to whom they heard, and reserve where a path came from. */
static int by_router(const ec_ipv6_state *s, const ipv6_packet *x, ipv6_claim *c)
{
    const uint8_t *p = x->p;
    uint64_t key;
    if (c->protocol == 88 && x->n >= 20 && shape_be32(p + 12) != 0)
        key = map_key(KEY_USER, 88, 0, eigrp_number(p, 12));
    else if (c->protocol == 88 && x->n >= 20 && shape_be32(p + 8) != 0 && (p[1] == 4 || (p[7] & 1)))
        key = map_key(KEY_USER, 88, 1, eigrp_number(p, 8));
    else if (c->protocol == 46 && x->n >= 32 && (p[1] == 2 || p[1] == 6) && shape_be32(p + 8) == 0x00180102)
        key = map_key(KEY_USER, 46, ipv6_hash(p + 12), shape_be32(p + 28));
    else
        return 0;
    return sent_to(s, c, one_voted(s, key, x, 1), EC_TO_ANSWERED);
}

static int by_answer(const ec_ipv6_state *s, const ipv6_packet *x, ipv6_claim *c)
{
    uint8_t from[16], to[16];
    if (by_router(s, x, c))
        return 1;
    if (shape_inner(c->protocol, x->p, x->n, from, to)) {
        const uint64_t key = map_key(KEY_USER, c->protocol, ipv6_hash(to), ipv6_hash(from));
        return sent_to(s, c, one_voted(s, key, x, 1), EC_TO_ANSWERED);
    }
    if (c->ports == PORTS_NONE || c->ports == 0)
        return 0;
    const uint64_t back = (uint64_t)ipv6_reverse_ports(c->protocol, c->ports);
    if (c->protocol == 132) {
        const uint32_t tag = shape_be32(x->p + 4);
        if (tag != 0 && sent_to(s, c, one_voted(s, map_key(KEY_TAG, 0, back, tag), x, 1), EC_TO_ANSWERED))
            return 1;
        return sent_to(s, c, one_voted(s, map_key(KEY_USER, 132, 0, back), x, 1), EC_TO_ANSWERED);
    }
    if (c->protocol == 58 && x->source_kind == ADDRESS_GLOBAL)
        return sent_to(s, c, one_voted(s, map_key(KEY_USER, 58, back, ec_be16(x->p + 6)), x, 1), EC_TO_ANSWERED);
    if (c->protocol == 6 && x->n >= 14 && (x->p[13] & 16))
        return sent_to(s, c, one_voted(s, map_key(KEY_SEQUENCE, 0, back, shape_be32(x->p + 8)), x, 1), EC_TO_ANSWERED);
    if (c->protocol == 17 && !serves_groups(s, ec_be16(x->p)) && !serves_groups(s, ec_be16(x->p + 2)))
        return sent_to(s, c, one_voted(s, map_key(KEY_USER, 17, 0, back), x, 1), EC_TO_ANSWERED);
    return 0;
}

/* Whether all pieces of a packet are there, and its checksum was right with no address that is known. A packet of one
 * piece tells nothing: it may be a first piece that says wrongly that it is the last one. */
static int joined_in_vain(const ec_ipv6_state *s, const ipv6_packet *x)
{
    const uint32_t id = shape_be32(x->p + 4);
    uint64_t joined = 0, found;
    map_get(s, map_key(KEY_JOINING, 0, x->source_hash, id), &joined);
    return (joined >> 16 & 0xFFFFF) == ALL_JOINED && !(joined & 1) &&
           !map_get(s, map_key(KEY_JOINED, 0, x->source_hash, id), &found);
}

static int by_piece(const ec_ipv6_state *s, const ipv6_packet *x, ipv6_claim *c)
{
    const uint32_t id = shape_be32(x->p + 4);
    uint64_t value;
    if (sent_to(s, c, one_voted(s, map_key(KEY_JOINED, 0, x->source_hash, id), x, 1), EC_TO_JOINED))
        return 1;
    if (joined_in_vain(s, x) || x->p[0] == 58 || !map_get(s, map_key(KEY_PIECE, 0, x->source_hash, id), &value) || !(value >> 40 & 1))
        return 0;
    const int64_t ports = (int64_t)(value & 0xFFFFFFFFu);
    return sent_to(s, c, peer_of(s, x, x->p[0], ports, ports >> 16 == (ports & 0xFFFF) ? 2 : 1), EC_TO_FLOW);
}

/* Those who use a protocol without a checksum over addresses, of one side: the first two sources, and how many (3:
 * more). Sides: the machine's own addresses, and all others; where its own are not known all are others. */
static uint64_t party_key(const ipv6_packet *x, uint32_t protocol, int own)
{
    return map_key(KEY_PARTY, protocol, (uint64_t)x->source_kind, (uint64_t)own);
}

static uint32_t parties(uint64_t value) { return (uint32_t)(value >> 40); }

static int is_own(const ipv6_packet *x) { return x->own_known && (x->source_role & EC_ROLE_OWN); }

/* The other end, told by who else uses the protocol, or -1; others: how many could be meant. */
static int64_t other_party(const ec_ipv6_state *s, const ipv6_packet *x, uint32_t protocol, uint32_t *others)
{
    uint64_t side = 0, across = 0;
    map_get(s, party_key(x, protocol, is_own(x)), &side);
    if (x->own_known)
        map_get(s, party_key(x, protocol, !is_own(x)), &across);
    *others = parties(across);
    if (*others > 0)
        return *others == 1 ? (int64_t)(across & 0xFFFFF) : -1;
    const int64_t one = (int64_t)(side & 0xFFFFF), two = (int64_t)(side >> 20 & 0xFFFFF);
    *others = parties(side);
    if (*others != 2)
        return -1;
    return one == x->source_index ? two : two == x->source_index ? one : -1;
}

/* Protocols whose destination no checksum tells. */
static int is_unsummed(uint32_t protocol)
{
    switch (protocol) {
    case 4:
    case 41:
    case 44:
    case 46:
    case 47:
    case 50:
    case 59:
    case 88:
    case 97:
    case 108:
    case 115:
    case 132:
    case 137:
    case 143:
    case 255: return 1;
    default: return 0;
    }
}

/* Protocols between gateways, which need not be those that hosts talk to. */
static int is_tunnel(uint32_t protocol)
{
    return protocol == 4 || protocol == 41 || protocol == 47 || protocol == 50 || protocol == 97 || protocol == 115 ||
           protocol == 137 || protocol == 143;
}

/* How many security associations of ESP a host sends on. */
static uint64_t associations(const ec_ipv6_state *s, uint64_t host)
{
    uint64_t count = 0;
    map_get(s, map_key(KEY_SPI, 1, host, 0), &count);
    return count;
}

/* Whether a tunnel can lead there: nobody else is heard who has one. Of ESP a host that sends on more associations than
 * come back has others as well. */
static int is_gateway(const ec_ipv6_state *s, const ipv6_packet *x, uint32_t protocol, int64_t to)
{
    uint32_t others = 0;
    if (to < 0)
        return 0;
    const uint64_t back = protocol == 50 ? associations(s, s->address_hash[to]) : 1;
    if (protocol == 50 && associations(s, x->source_hash) > (back ? back : 1))
        return 0;
    const int64_t other = other_party(s, x, protocol, &others);
    return other < 0 ? others < 2 || (!is_own(x) && back > 0) : other == to;
}

/* Whether to believe that the only host there is is at the other end. */
static int is_likely(const ec_ipv6_state *s, const ipv6_packet *x, uint32_t protocol, int64_t to, int64_t other)
{
    uint64_t value;
    if (to < 0 || (protocol == 50 && !is_gateway(s, x, protocol, to)))
        return 0;
    return !is_tunnel(protocol) || x->only_two || other == to ||
           map_get(s, map_key(KEY_PAIR, 0, x->source_hash, s->address_hash[to]), &value);
}

/* The host at the other end, told by whom else this one talks to, and by who else talks so. */
static int by_host(const ec_ipv6_state *s, const ipv6_packet *x, ipv6_claim *c)
{
    uint64_t value;
    uint32_t others = 0;
    const int unsummed = is_unsummed(c->protocol);
    const int echo = c->protocol == 58 && x->n >= 8 && (x->p[0] == 128 || x->p[0] == 129);
    if (!x->whole && x->n < LEAST_BYTES)
        return 0;
    if (c->protocol == 88 && x->p[1] != 4 && !(x->p[7] & 1) && shape_be32(x->p + 12) == 0)
        return 0; /* may go to the group as well as to one router */
    if (x->source_kind == ADDRESS_LOOPBACK && (unsummed || !x->whole || c->protocol == 6))
        return sent_to(s, c, x->source_index, EC_TO_SOLE);
    if (c->protocol == 44 && joined_in_vain(s, x))
        return 0;
    if (!unsummed && (x->whole || (c->protocol != 6 && c->protocol != 17 && !echo)))
        return 0;
    if (c->protocol == 17 && (serves_groups(s, ec_be16(x->p)) || serves_groups(s, ec_be16(x->p + 2))))
        return 0;
    if (x->source_kind == ADDRESS_LINK && (c->protocol == 50 || c->protocol == 44 || !unsummed))
        return 0;
    const int has_parties = unsummed && c->protocol != 255 && c->protocol != 44;
    int64_t other = has_parties ? other_party(s, x, c->protocol, &others) : -1;
    if (other == x->source_index)
        other = -1;
    if (s->sole < 2 || !unsummed)
        return s->sole && x->own_known && (!unsummed || is_likely(s, x, c->protocol, x->sole, other))
                   ? sent_to(s, c, x->sole, EC_TO_SOLE)
                   : 0;
    int64_t to = other;
    if (map_get(s, map_key(KEY_HOST, 0, x->source_hash, 0), &value)) {
        const int64_t host = (int64_t)vote_index(value);
        if (vote_several(value)) /* of many hosts the one that talks so, too */
            to = c->protocol == 59 || !x->own_known ? -1 : other;
        else if (other >= 0 ? other != host : is_tunnel(c->protocol) && x->sole != host)
            return 0;
        else
            to = host;
    } else if (other < 0) {
        to = others <= 1 ? x->sole : -1;
    }
    return is_likely(s, x, c->protocol, to, other) ? sent_to(s, c, to, EC_TO_SOLE) : 0;
}

static void look_further(const ec_ipv6_state *s, const ipv6_packet *x, ipv6_claim *c)
{
    if (c->has_to || (c->protocol == 44 && by_piece(s, x, c)))
        return;
    if (c->where == EC_TO_SEVERAL)
        return;
    if (c->ports != 0 && ports_tell(s, x, c->protocol, c->ports) &&
        sent_to(s, c, peer_of(s, x, c->protocol, c->ports, x->whole ? 2 : 1), EC_TO_FLOW))
        return;
    if (by_kind(s, x, c) || by_answer(s, x, c))
        return;
    if (c->ports == 0) {
        const int64_t peer = peer_of(s, x, c->protocol, 0, 1);
        if (is_gateway(s, x, c->protocol, peer) && sent_to(s, c, peer, EC_TO_FLOW))
            return;
    }
    by_host(s, x, c);
}

/* -------------------------------------------------------------------------------------------------- learning ---- */

/* Whether hosts agree on keys of ESP at this UDP port. */
static int negotiates(int64_t port)
{
    return port == 500 || port == 4500;
}

/* A packet with these ports went from one address to the other. */
static void learn_flow(ec_ipv6_state *s, const uint8_t *from, int64_t from_index, const uint8_t *to, uint32_t protocol,
                       int64_t ports)
{
    uint64_t value;
    const int unicast = ipv6_kind(to) != ADDRESS_GROUP;
    const uint64_t from_hash = ipv6_hash(from), to_hash = ipv6_hash(to);
    const int64_t to_index = ipv6_intern(s, to, EC_ROLE_TOLD);
    if (to_index < 0)
        return;
    if (ports != PORTS_NONE) {
        const uint64_t key = map_key(KEY_PEER, protocol, from_hash, (uint64_t)ports);
        if (map_get(s, key, &value) && vote_index(value) == (uint32_t)to_index && vote_hits(value) >= ENOUGH_VOTES)
            return;
        map_vote(s, key, (uint32_t)to_index);
        if (unicast && from_index >= 0)
            map_vote(s, map_key(KEY_PEER, protocol, to_hash, (uint64_t)ipv6_reverse_ports(protocol, ports)), (uint32_t)from_index);
    }
    if (protocol == 17 && unicast && from_index >= 0 && (negotiates(ports >> 16) || negotiates(ports & 0xFFFF))) {
        map_vote(s, map_key(KEY_PEER, 50, from_hash, 0), (uint32_t)to_index);
        map_vote(s, map_key(KEY_PEER, 50, to_hash, 0), (uint32_t)from_index);
    }
    map_put(s, map_key(KEY_PAIR, 0, from_hash, to_hash), 1);
    if (unicast && memcmp(from, to, 16) != 0) {
        map_put(s, map_key(KEY_PAIR, 0, to_hash, from_hash), 1);
        map_vote(s, map_key(KEY_HOST, 0, from_hash, 0), (uint32_t)to_index);
        if (from_index >= 0)
            map_vote(s, map_key(KEY_HOST, 0, to_hash, 0), (uint32_t)from_index);
    }
}

static void learn_quoted(ec_ipv6_state *s, const ipv6_packet *x)
{
    const uint8_t *quoted = x->p + 8;
    if (x->n < 56 || quoted[0] >> 4 != 6)
        return;
    const int64_t from = ipv6_intern(s, quoted + 8, EC_ROLE_TOLD);
    int64_t ports = PORTS_NONE;
    if (from < 0)
        return;
    if (quoted[6] == 6 || quoted[6] == 17 || quoted[6] == 132 || quoted[6] == 33 || quoted[6] == 136)
        ports = (int64_t)shape_be32(quoted + 40);
    else if (quoted[6] == 58 && x->n >= 54 && quoted[40] == 128)
        ports = (int64_t)ec_be16(quoted + 44) << 16 | 128;
    learn_flow(s, quoted + 8, from, quoted + 24, quoted[6], ports);
}

/* Protocols whose checksum an adapter may fill in. */
static int is_filled(uint32_t protocol)
{
    return protocol == 6 || protocol == 17 || protocol == 58 || protocol == 33 || protocol == 136;
}

static void learn_filling(ec_ipv6_state *s, const ipv6_packet *x, const ipv6_claim *c)
{
    const uint64_t key = map_key(KEY_FILLING, c->protocol, x->source_hash, 0);
    uint64_t value = 0;
    map_get(s, key, &value);
    uint32_t filled = (uint32_t)value & 255, left = (uint32_t)(value >> 8) & 255;
    if (c->how == EC_HOW_CHECKSUM) {
        if (filled >= 64)
            return;
        filled++;
    } else {
        if (left >= 64)
            return;
        left++;
    }
    map_put(s, key, (uint64_t)filled | (uint64_t)left << 8);
}

/* How often the checksum field of a source's cut packets fits offload, and how often not; both are halved at 128. */
static void learn_open(ec_ipv6_state *s, const ipv6_packet *x, const ipv6_claim *c)
{
    const uint64_t key = map_key(KEY_OPEN, c->protocol, x->source_hash, 0);
    uint64_t value = 0;
    map_get(s, key, &value);
    uint32_t left = (uint32_t)value & 255, other = (uint32_t)(value >> 8) & 255;
    if (c->left)
        left++;
    else
        other++;
    if (left + other >= 128) {
        left /= 2;
        other /= 2;
    }
    map_put(s, key, (uint64_t)left | (uint64_t)other << 8);
}

/* Who sent which number of EIGRP, who acknowledged it; where the paths of RSVP came from. */
static void learn_routers(ec_ipv6_state *s, const ipv6_packet *x, const ipv6_claim *c, uint32_t me)
{
    const uint8_t *p = x->p;
    if (c->protocol == 88 && x->n >= 20) {
        if (shape_be32(p + 8) != 0)
            map_vote(s, map_key(KEY_USER, 88, 0, eigrp_number(p, 8)), me);
        if (shape_be32(p + 12) != 0)
            map_vote(s, map_key(KEY_USER, 88, 1, eigrp_number(p, 12)), me);
    } else if (c->protocol == 46 && x->n >= 52 && p[1] == 1 && shape_be32(p + 8) == 0x00180102 && shape_be32(p + 32) == 0x00180302) {
        const int64_t hop = ipv6_intern(s, p + 36, EC_ROLE_TOLD);
        if (hop >= 0)
            map_vote(s, map_key(KEY_USER, 46, ipv6_hash(p + 12), shape_be32(p + 28)), (uint32_t)hop);
    }
}

/* An association of ESP that was not seen before. */
static void learn_association(ec_ipv6_state *s, const ipv6_packet *x)
{
    const uint64_t key = map_key(KEY_SPI, 0, x->source_hash, shape_be32(x->p));
    uint64_t value;
    if (map_get(s, key, &value))
        return;
    map_put(s, key, 1);
    map_put(s, map_key(KEY_SPI, 1, x->source_hash, 0), associations(s, x->source_hash) + 1);
}

/* What a packet teaches whose destination no checksum tells. */
static void learn_unsummed(ec_ipv6_state *s, const ipv6_packet *x, const ipv6_claim *c)
{
    const uint8_t *p = x->p;
    if (x->source_index < 0)
        return;
    const uint32_t me = (uint32_t)x->source_index;
    if (is_unsummed(c->protocol) && c->protocol != 44 && c->protocol != 255) {
        const uint64_t key = party_key(x, c->protocol, is_own(x));
        uint64_t value = 0;
        map_get(s, key, &value);
        const uint32_t one = (uint32_t)(value & 0xFFFFF), two = (uint32_t)(value >> 20 & 0xFFFFF);
        if (parties(value) == 0)
            map_put(s, key, (uint64_t)1 << 40 | me);
        else if (parties(value) == 1 && one != me)
            map_put(s, key, (uint64_t)2 << 40 | (uint64_t)me << 20 | one);
        else if (parties(value) == 2 && one != me && two != me)
            map_put(s, key, (uint64_t)3 << 40 | (value & 0xFFFFFFFFFFu));
    }
    learn_routers(s, x, c, me);
    uint8_t from[16], to[16];
    if (shape_inner(c->protocol, p, x->n, from, to))
        map_vote(s, map_key(KEY_USER, c->protocol, ipv6_hash(from), ipv6_hash(to)), me);
    if (c->ports == 0 && c->where == EC_TO_ANSWERED)
        map_vote(s, map_key(KEY_PEER, c->protocol, x->source_hash, 0), (uint32_t)ipv6_find(s, c->to, ipv6_hash(c->to)));
    if (c->ports == PORTS_NONE || c->ports == 0)
        return;
    const uint64_t ports = (uint64_t)c->ports;
    if (c->protocol == 132) {
        map_vote(s, map_key(KEY_USER, 132, 0, ports), me);
        if (x->n >= 20 && (p[12] == 1 || p[12] == 2))
            map_vote(s, map_key(KEY_TAG, 0, ports, shape_be32(p + 16)), me);
    } else if (c->protocol == 17) {
        map_vote(s, map_key(KEY_USER, 17, 0, ports), me);
    } else if (c->protocol == 58) {
        map_vote(s, map_key(KEY_USER, 58, ports, ec_be16(p + 6)), me);
    } else if (c->protocol == 6 && x->n >= 14) {
        const size_t header = (size_t)(p[12] >> 4) * 4;
        const uint32_t sequence = shape_be32(p + 4);
        const uint32_t after = (p[13] & 2 ? 1u : 0u) + (p[13] & 1 ? 1u : 0u);
        const uint32_t next = sequence + (uint32_t)(header > x->len ? 0 : x->len - header) + after;
        map_vote(s, map_key(KEY_SEQUENCE, 0, ports, sequence), me);
        if (next != sequence)
            map_vote(s, map_key(KEY_SEQUENCE, 0, ports, next), me);
        if (c->where == EC_TO_ANSWERED) {
            const int64_t there = ipv6_find(s, c->to, ipv6_hash(c->to));
            const uint64_t back = (uint64_t)ipv6_reverse_ports(6, c->ports);
            map_vote(s, map_key(KEY_PEER, 6, x->source_hash, ports), (uint32_t)there);
            map_vote(s, map_key(KEY_PEER, 6, ipv6_hash(c->to), back), me);
        }
    }
}

/* A piece of a fragmented packet: sums add up. State under KEY_JOINING: sum 16 bits, bytes 20, total 20, protocol 8;
 * under KEY_PIECE: ports 32 bits, protocol 8, 1 where the ports are known, and what ipv6_piece_place says. */
static void learn_piece(ec_ipv6_state *s, const ipv6_packet *x, uint32_t mode)
{
    const uint8_t *p = x->p;
    const uint32_t id = shape_be32(p + 4), place = ec_be16(p + 2), start = place & 0xFFF8u;
    const uint64_t piece = map_key(KEY_PIECE, 0, x->source_hash, id), joining = map_key(KEY_JOINING, 0, x->source_hash, id);
    uint64_t known = (uint64_t)p[0] << 32, value = 0, others = ipv6_piece_place(place);
    if (map_get(s, piece, &known) && (known & PIECE_PLACES) != others)
        others |= PIECE_SEVERAL;
    known &= ~(uint64_t)PIECE_PLACES;
    if (start == 0 && x->n >= 16) {
        known = (uint64_t)p[0] << 32;
        if (p[0] == 6 || p[0] == 17 || p[0] == 132 || p[0] == 33 || p[0] == 136)
            known |= (uint64_t)1 << 40 | shape_be32(p + 8);
        else if (p[0] == 58 && (p[8] == 128 || p[8] == 129))
            known |= (uint64_t)1 << 40 | (uint32_t)ec_be16(p + 12) << 16 | p[8];
    }
    map_put(s, piece, known | others);
    if (!(mode & EC_IPV6_JOIN) || !x->whole)
        return;
    map_get(s, joining, &value);
    uint32_t sum = (uint32_t)value & 0xFFFF, bytes = (uint32_t)(value >> 16) & 0xFFFFF, total = (uint32_t)(value >> 36) & 0xFFFFF;
    uint32_t protocol = (uint32_t)(value >> 56);
    if (bytes == ALL_JOINED)
        return;
    if (start == 0)
        protocol = p[0];
    sum = (sum + ipv6_sum(p + 8, x->n - 8)) % 65535;
    bytes += (uint32_t)(x->n - 8);
    if (!(place & 1))
        total = start + (uint32_t)(x->n - 8);
    if (bytes > 0x1FFFF)
        bytes = 0x1FFFF;
    if (bytes == total && protocol != 0) {
        ipv6_claim inner;
        memset(&inner, 0, sizeof inner);
        inner.protocol = protocol;
        inner.ports = known >> 40 & 1 ? (int64_t)(known & 0xFFFFFFFFu) : PORTS_NONE;
        ipv6_packet whole = *x;
        whole.has_told = 0;
        ipv6_match(s, &whole, &inner, total, sum, 1, NO_CHECKSUM, NULL, 0);
        if (inner.has_to) {
            const int64_t index = ipv6_intern(s, inner.to, EC_ROLE_TOLD);
            if (index >= 0)
                map_vote(s, map_key(KEY_JOINED, 0, x->source_hash, id), (uint32_t)index);
            learn_flow(s, x->source, x->source_index, inner.to, protocol, inner.ports);
        }
        map_put(s, joining, (uint64_t)ALL_JOINED << 16 | (start == 0));
        return;
    }
    map_put(s, joining, (uint64_t)sum | (uint64_t)bytes << 16 | (uint64_t)total * (UINT64_C(1) << 36) | (uint64_t)protocol << 56);
}

static void learn(ec_ipv6_state *s, const ipv6_packet *x, const ipv6_claim *c, uint32_t mode)
{
    const int summed = c->how >= EC_HOW_CHECKSUM && c->how <= EC_HOW_OFFLOADED_LARGE;
    const int checked = summed && c->where >= EC_TO_FLOW_SUM && c->where <= EC_TO_CONTEXT_SUM;
    if (c->has_to && ((checked && c->score >= CERTAIN) || c->where == EC_TO_TOLD)) {
        learn_flow(s, x->source, x->source_index, c->to, c->protocol, c->ports);
        if (c->protocol == 58 && x->p[0] >= 1 && x->p[0] <= 4)
            learn_quoted(s, x);
    }
    if (c->score >= CERTAIN && summed && is_filled(c->protocol) && c->where != EC_TO_SEVERAL)
        learn_filling(s, x, c);
    if (c->protocol == 50)
        learn_association(s, x);
    if (!x->whole && !x->has_told && (c->protocol == 6 || c->protocol == 17))
        learn_open(s, x, c);
    if (!checked && c->score >= 10)
        learn_unsummed(s, x, c);
    if (c->protocol == 44)
        learn_piece(s, x, mode);
    if (c->score < 30 && x->n >= 8) {
        const uint64_t key = map_key(KEY_SERIES, 0, x->source_hash, shape_be32(x->p));
        const uint32_t now = shape_be32(x->p + 4);
        uint64_t value;
        uint32_t runs = 0;
        if (map_get(s, key, &value)) {
            const uint32_t step = now - (uint32_t)value;
            runs = (uint32_t)(value >> 32) & 255;
            if (step >= 1 && step <= WIDEST_STEP)
                runs += runs < 255;
            else
                runs -= runs > 0;
        }
        map_put(s, key, (uint64_t)runs << 32 | now);
    }
}

/* ---------------------------------------------------------------------------------------------------- the call ---- */

/* What is written where the socket told no hop limit: what the message must have had, or 64. */
static uint8_t usual_hop_limit(const ipv6_packet *x, const ipv6_claim *c)
{
    if (c->protocol == 58 && x->n > 0 && ((x->p[0] >= 133 && x->p[0] <= 137) || x->p[0] == 141 || x->p[0] == 142))
        return 255;
    if (c->protocol == 58 && x->n > 0 && ((x->p[0] >= 130 && x->p[0] <= 132) || x->p[0] == 143))
        return 1;
    return c->protocol == 112 ? 255 : 64;
}

static void write_header(uint8_t *header, const uint8_t *record, const ipv6_packet *x, const ipv6_claim *c)
{
    const uint32_t present = ec_u16(record + EC_RAW_PRESENT);
    const uint8_t class = present & EC_RAW_HAS_CLASS ? record[EC_RAW_CLASS] : 0;
    const uint8_t hops = x->hop_limit >= 0 ? (uint8_t)x->hop_limit : usual_hop_limit(x, c);
    const size_t length = x->len > 65535 ? 0 : x->len;
    header[0] = (uint8_t)(0x60 | class >> 4);
    header[1] = (uint8_t)(class << 4 & 0xF0);
    header[2] = 0;
    header[3] = 0;
    header[4] = (uint8_t)(length >> 8);
    header[5] = (uint8_t)length;
    header[6] = (uint8_t)c->protocol;
    header[7] = hops;
    memcpy(header + 8, x->source, 16);
    if (c->has_to)
        memcpy(header + 24, c->to, 16);
    else
        memset(header + 24, 0, 16);
}

int64_t ec_ipv6_rebuild(ec_ipv6_state *state, uint8_t *buffer, size_t size, const int64_t *record,
                        const int64_t *payload, const uint32_t *captured, const uint32_t *original, size_t rows,
                        uint32_t mode, uint32_t *evidence)
{
    ipv6_census census;
    take_census(state, &census);
    for (size_t i = 0; i < rows; i++) {
        if (record[i] < 0 || size < EC_RAW_SIZE || (uint64_t)record[i] > size - EC_RAW_SIZE || payload[i] < EC_IPV6_HEADER ||
            (uint64_t)payload[i] > size || captured[i] > size - (size_t)payload[i])
            return -(int64_t)i - 1;
        const uint8_t *from = buffer + record[i];
        const uint32_t present = ec_u16(from + EC_RAW_PRESENT);
        ipv6_packet x;
        ipv6_claim c;
        x.p = buffer + payload[i];
        x.n = captured[i];
        x.len = original[i] > captured[i] ? original[i] : captured[i];
        x.whole = x.n == x.len && !(present & EC_RAW_IS_CUT);
        memcpy(x.source, from + EC_RAW_SOURCE, 16);
        memcpy(x.told, from + EC_RAW_DESTINATION, 16);
        x.has_told = (present & EC_RAW_HAS_DESTINATION) != 0;
        x.hop_limit = present & EC_RAW_HAS_HOP_LIMIT ? from[EC_RAW_HOP_LIMIT] : -1;
        if (mode & EC_IPV6_INFER) {
            x.sum = ipv6_sum(x.p, x.n);
            x.source_hash = ipv6_hash(x.source);
            x.source_sum = ipv6_sum(x.source, 16);
            x.source_kind = ipv6_kind(x.source);
            x.source_index = ipv6_find(state, x.source, x.source_hash);
            if (x.source_index < 0 && x.source_kind != ADDRESS_GROUP)
                x.source_index = ipv6_intern(state, x.source, EC_ROLE_SOURCE);
            x.source_role = x.source_index < 0 ? 0 : state->role[x.source_index];
            x.own_known = census.own_known;
            x.sole = sole(&census, &x);
            x.only_two = only_two(&census, &x);
            ipv6_claim_best(state, &x, &c);
        } else {
            memset(&c, 0, sizeof c);
            c.protocol = 255;
            c.ports = PORTS_NONE;
        }
        if (x.has_told) {
            memcpy(c.to, x.told, 16);
            c.has_to = 1;
            c.where = EC_TO_TOLD;
        }
        if (mode & EC_IPV6_INFER) {
            look_further(state, &x, &c);
            learn(state, &x, &c, mode);
        }
        evidence[i] = c.protocol | c.how << 8 | c.where << 16;
        if (mode & EC_IPV6_WRITE)
            write_header(buffer + payload[i] - EC_IPV6_HEADER, from, &x, &c);
    }
    return (int64_t)rows;
}
