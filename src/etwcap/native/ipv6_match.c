#include "ipv6_claims.h"

enum { MOST_STEPS = 64, CLEAR = 4, LEAST_BITS = 4, NEVER = -12, OFTEN = 3 };

int64_t ipv6_reverse_ports(uint32_t protocol, int64_t ports)
{
    if (protocol == 58)
        return ports ^ 1; /* echo request 128, echo reply 129 */
    return (ports & 0xFFFF) << 16 | ports >> 16;
}

static int bit_length(uint64_t value)
{
    int bits = 0;
    for (; value; value >>= 1)
        bits++;
    return bits;
}

/* How well an address suits as the destination, in bits. */
static int suits(const ec_ipv6_state *s, const ipv6_packet *x, uint32_t protocol, uint32_t index)
{
    const uint8_t *to = s->address + (size_t)index * 16;
    const uint32_t role = s->role[index];
    const int kind = ipv6_kind(to), self = memcmp(to, x->source, 16) == 0;
    uint64_t value;
    int bits = 0;
    if ((kind == ADDRESS_LOOPBACK) != (x->source_kind == ADDRESS_LOOPBACK))
        bits -= kind == ADDRESS_LOOPBACK ? 20 : 4;
    if (kind == ADDRESS_GROUP) {
        if (protocol == 6 || protocol == 33 || protocol == 132)
            return -20;
        bits += x->source_kind == ADDRESS_LINK && (to[1] & 15) == 2 ? 2 : (to[1] & 15) == 1 ? -6 : 0;
        if (role == EC_ROLE_WELL_KNOWN)
            bits -= 2;
    } else {
        if (x->source_kind == ADDRESS_LINK)
            bits += kind == ADDRESS_LINK ? 2 : -3;
        else
            bits += kind == ADDRESS_LINK ? -4 : 2;
        if (self && kind != ADDRESS_LOOPBACK && !(role & EC_ROLE_OWN))
            bits -= 3; /* machines talk to themselves, but few of others' packets to themselves are seen */
    }
    if (x->own_known) {
        if (x->source_role & EC_ROLE_OWN)
            bits -= (role & EC_ROLE_OWN) && !self ? 2 : 0;
        else
            bits += (role & EC_ROLE_OWN) ? 4 : (role & EC_ROLE_JOINED) ? 3 : kind == ADDRESS_GROUP ? 0 : -2;
    }
    if (map_get(s, map_key(KEY_PAIR, 0, x->source_hash, s->address_hash[index]), &value))
        bits += 5;
    return bits;
}

static void take(ipv6_claim *c, const uint8_t *to, uint32_t where, size_t t)
{
    memcpy(c->to, to, 16);
    c->has_to = 1;
    c->where = where;
    c->how = EC_HOW_CHECKSUM + (uint32_t)t;
}

static int match(const ec_ipv6_state *s, const ipv6_packet *x, ipv6_claim *c, uint64_t length, uint32_t sum, int whole,
                 int field, const uint8_t *groups, size_t group_count)
{
    const uint32_t pseudo = (uint32_t)((x->source_sum + length + c->protocol) % 65535);
    uint32_t need[3] = {0, 0, 0};
    int cost[3] = {0, 3, length > 1460 ? 6 : 11};
    const size_t first = whole ? 0 : 1, end = field < 0 ? 1 : 3;
    uint64_t value;
    need[0] = (2 * 65535 - sum - pseudo) % 65535;
    if (field >= 0) {
        need[1] = ((uint32_t)field + 65535 - pseudo) % 65535;
        need[2] = ((uint32_t)field + 2 * 65535 - (x->source_sum + c->protocol) % 65535) % 65535;
    }
    if (map_get(s, map_key(KEY_FILLING, c->protocol, x->source_hash, 0), &value)) {
        const uint32_t filled = (uint32_t)value & 255, left = (uint32_t)(value >> 8) & 255;
        if (filled >= 4 * (left + 1)) {
            cost[1] += 8;
            cost[2] += 8;
        } else if (left >= 4 * (filled + 1)) {
            cost[0] += 6;
            cost[1] -= 3;
            cost[2] -= 3;
        }
    }
    if (x->has_told) {
        const uint32_t told = ipv6_sum(x->told, 16);
        take(c, x->told, EC_TO_TOLD, 0);
        c->how = EC_HOW_SHAPE;
        for (size_t t = first; t < end; t++)
            if (need[t] == told) {
                c->how = EC_HOW_CHECKSUM + (uint32_t)t;
                return 16 - (int)t * 2;
            }
        return whole ? -4 : 0;
    }
    int known = 0;
    if (c->ports != PORTS_NONE && map_get(s, map_key(KEY_PEER, c->protocol, x->source_hash, (uint64_t)c->ports), &value)) {
        const uint32_t index = vote_index(value);
        known = 8;
        for (size_t t = first; t < end; t++)
            if (need[t] == s->address_sum[index]) {
                take(c, s->address + (size_t)index * 16, EC_TO_FLOW_SUM, t);
                return 24 - (int)t * 2;
            }
    }
    for (size_t g = 0; g < group_count; g++)
        for (size_t t = first; t < end; t++)
            if (need[t] == ipv6_sum(groups + g * 16, 16) && cost[t] < 8) {
                take(c, groups + g * 16, EC_TO_KIND_SUM, t);
                return 15 - cost[t];
            }
    int best = SHAPE_NO, second = SHAPE_NO;
    int32_t found = -1;
    size_t filling = 0;
    for (size_t t = first; t < end; t++) {
        int steps = 0;
        for (int32_t i = s->head[need[t]]; i >= 0; i = s->next[i]) {
            if (++steps > MOST_STEPS) {
                second = best;
                break;
            }
            const int fit = suits(s, x, c->protocol, (uint32_t)i);
            if (fit < NEVER)
                continue;
            if (fit - cost[t] > best) {
                if (i != found)
                    second = best;
                best = fit - cost[t];
                found = i;
                filling = t;
            } else if (i != found && fit - cost[t] > second) {
                second = fit - cost[t];
            }
        }
    }
    if (found < 0)
        return (whole ? -4 : 0) + known;
    int bits = 16 - bit_length(s->count) + (best > 6 ? 6 : best);
    const int clear = best - second >= CLEAR && bits >= LEAST_BITS;
    if (clear)
        take(c, s->address + (size_t)found * 16, second == SHAPE_NO ? EC_TO_ONLY_SUM : EC_TO_CONTEXT_SUM, filling);
    else
        c->where = EC_TO_SEVERAL;
    if (bits < 0)
        bits = 0;
    if (!clear && bits > 0)
        c->how = EC_HOW_CHECKSUM + (uint32_t)filling;
    return bits + known;
}

/* Which destination makes the checksum right, or is in the pseudo-header sum that offload left in the field: fills
 * has_to, to, where and how; returns the bits that speak for the protocol. sum: of the bytes that the checksum
 * covers; whole: all of them are there; field: the checksum field where offload may have left it alone, else
 * NO_CHECKSUM; groups: destinations that messages of this kind have. */
int ipv6_match(const ec_ipv6_state *s, const ipv6_packet *x, ipv6_claim *c, uint64_t length, uint32_t sum, int whole,
               int field, const uint8_t *groups, size_t group_count)
{
    uint64_t value = 0;
    const int bits = match(s, x, c, length, sum, whole, field, groups, group_count);
    if (whole || x->has_told || c->how == EC_HOW_SHAPE)
        return bits;
    /* Of a cut packet only the field is there: a chance match must not pass for offload that this source never does. */
    c->left = 1;
    map_get(s, map_key(KEY_OPEN, c->protocol, x->source_hash, 0), &value);
    const uint32_t left = (uint32_t)value & 255, other = (uint32_t)(value >> 8) & 255;
    if (left >= OFTEN && left >= 4 * other)
        return bits;
    c->has_to = 0;
    c->how = EC_HOW_SHAPE;
    c->where = EC_TO_UNKNOWN;
    return 0;
}
