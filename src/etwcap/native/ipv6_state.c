#include "ipv6_state.h"

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ hash >> 32;
}

uint64_t ipv6_hash(const uint8_t *address)
{
    return mix(mix(UINT64_C(0xCBF29CE484222325), ec_u64(address)), ec_u64(address + 8));
}

uint32_t ipv6_sum(const uint8_t *p, size_t n)
{
    uint64_t sum = 0;
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        uint32_t words[8];
        memcpy(words, p + i, sizeof words);
        for (size_t k = 0; k < 8; k++)
            sum += words[k];
    }
    for (; i + 4 <= n; i += 4)
        sum += ec_u32(p + i);
    if (i + 2 <= n) {
        sum += ec_u16(p + i);
        i += 2;
    }
    if (i < n)
        sum += p[i];
    const uint32_t little = (uint32_t)(sum % 65535);
    return (little & 255) << 8 | little >> 8;
}

int ipv6_kind(const uint8_t *address)
{
    if (address[0] == 0xFF)
        return ADDRESS_GROUP;
    if (address[0] == 0xFE && (address[1] & 0xC0) == 0x80)
        return ADDRESS_LINK;
    if (address[0] == 0) {
        uint32_t any = 0;
        for (size_t i = 0; i < 15; i++)
            any |= address[i];
        if (any == 0 && address[15] <= 1)
            return address[15] == 0 ? ADDRESS_NONE : ADDRESS_LOOPBACK;
    }
    return ADDRESS_GLOBAL;
}

int64_t ipv6_find(const ec_ipv6_state *s, const uint8_t *address, uint64_t hash)
{
    const uint64_t mask = s->address_slots - 1;
    for (uint64_t at = hash & mask; s->slot[at] != 0; at = (at + 1) & mask) {
        const uint32_t index = s->slot[at] - 1;
        if (s->address_hash[index] == hash && memcmp(s->address + (size_t)index * 16, address, 16) == 0)
            return index;
    }
    return -1;
}

int64_t ipv6_intern(ec_ipv6_state *s, const uint8_t *address, uint32_t role)
{
    const uint64_t hash = ipv6_hash(address);
    const int64_t known = ipv6_find(s, address, hash);
    if (known >= 0) {
        s->role[known] = (uint8_t)(s->role[known] | role);
        return known;
    }
    if (s->count >= s->capacity || ipv6_kind(address) == ADDRESS_NONE)
        return -1;
    const uint64_t index = s->count++;
    const uint32_t sum = ipv6_sum(address, 16) % 65535;
    memcpy(s->address + index * 16, address, 16);
    s->address_hash[index] = hash;
    s->address_sum[index] = (uint16_t)sum;
    s->role[index] = (uint8_t)role;
    s->next[index] = s->head[sum];
    s->head[sum] = (int32_t)index;
    const uint64_t mask = s->address_slots - 1;
    uint64_t at = hash & mask;
    while (s->slot[at] != 0)
        at = (at + 1) & mask;
    s->slot[at] = (uint32_t)index + 1;
    return (int64_t)index;
}

int64_t ec_ipv6_add(ec_ipv6_state *state, const uint8_t *address, size_t rows, uint32_t role)
{
    for (size_t i = 0; i < rows; i++)
        ipv6_intern(state, address + i * 16, role);
    return (int64_t)state->count;
}

uint64_t map_key(uint32_t kind, uint32_t protocol, uint64_t a, uint64_t b)
{
    const uint64_t key = mix(mix(mix(UINT64_C(0x2545F4914F6CDD1D), (uint64_t)kind << 8 | protocol), a), b);
    return key == 0 ? 1 : key;
}

int map_get(const ec_ipv6_state *s, uint64_t key, uint64_t *value)
{
    const uint64_t mask = s->slots - 1;
    for (uint64_t at = key & mask; s->key[at] != 0; at = (at + 1) & mask)
        if (s->key[at] == key) {
            *value = s->value[at];
            return 1;
        }
    return 0;
}

void map_put(ec_ipv6_state *s, uint64_t key, uint64_t value)
{
    const uint64_t mask = s->slots - 1;
    uint64_t at = key & mask;
    for (; s->key[at] != 0; at = (at + 1) & mask)
        if (s->key[at] == key) {
            s->value[at] = value;
            return;
        }
    if (s->used >= s->limit) {
        memset(s->key, 0, (size_t)s->slots * sizeof *s->key);
        s->used = 0;
        at = key & mask;
    }
    s->key[at] = key;
    s->value[at] = value;
    s->used++;
}

void map_vote(ec_ipv6_state *s, uint64_t key, uint32_t index)
{
    uint64_t value;
    uint32_t hits = 0, held = index;
    int several = 0;
    if (map_get(s, key, &value)) {
        held = vote_index(value);
        hits = vote_hits(value);
        several = vote_several(value);
    }
    if (held == index) {
        hits += hits < 255;
    } else {
        several = 1;
        if (hits <= 1) {
            held = index;
            hits = 1;
        } else {
            hits--;
        }
    }
    map_put(s, key, (uint64_t)held | (uint64_t)hits << 32 | (uint64_t)several << 40);
}
