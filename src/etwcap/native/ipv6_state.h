/* What the rebuilder knows: addresses by sum, and one map of everything learnt. Internal to ipv6_*.c. */
#ifndef ETWCAP_IPV6_STATE_H
#define ETWCAP_IPV6_STATE_H

#include "ipv6_rebuild.h"

/* Kinds of keys in the map. */
enum { KEY_PEER = 1, KEY_USER, KEY_TAG, KEY_SEQUENCE, KEY_PAIR, KEY_SERIES, KEY_JOINING, KEY_JOINED, KEY_PIECE, KEY_FILLING, KEY_HOST, KEY_PARTY, KEY_OPEN, KEY_SPI };

/* Kinds of addresses. */
enum { ADDRESS_NONE, ADDRESS_LOOPBACK, ADDRESS_LINK, ADDRESS_GROUP, ADDRESS_GLOBAL };

uint64_t ipv6_hash(const uint8_t *address);
uint32_t ipv6_sum(const uint8_t *p, size_t n); /* 16-bit words in network order, modulo 65535; an odd byte is a high one */
int ipv6_kind(const uint8_t *address);
int64_t ipv6_find(const ec_ipv6_state *s, const uint8_t *address, uint64_t hash);
int64_t ipv6_intern(ec_ipv6_state *s, const uint8_t *address, uint32_t role); /* -1: full, or no address */

uint64_t map_key(uint32_t kind, uint32_t protocol, uint64_t a, uint64_t b);
int map_get(const ec_ipv6_state *s, uint64_t key, uint64_t *value);
void map_put(ec_ipv6_state *s, uint64_t key, uint64_t value);

/* A value that names an address: its index, how often it was voted for (at most 255), whether there were others. */
static inline uint32_t vote_index(uint64_t value) { return (uint32_t)value; }
static inline uint32_t vote_hits(uint64_t value) { return (uint32_t)(value >> 32) & 255; }
static inline int vote_several(uint64_t value) { return (int)(value >> 40 & 1); }
void map_vote(ec_ipv6_state *s, uint64_t key, uint32_t index);

#endif
