/* What a raw socket's record lacks: the Next Header and the destination of an IPv6 packet, and its header. */
#ifndef ETWCAP_IPV6_REBUILD_H
#define ETWCAP_IPV6_REBUILD_H

#include "etwcap.h"

/* A record's header (providers/rawsocket_layout.py), and where an IPv6 header fits before the payload. */
enum {
    EC_RAW_SIZE = 64,
    EC_RAW_FAMILY = 5,
    EC_RAW_PRESENT = 6,
    EC_RAW_HOP_LIMIT = 24,
    EC_RAW_CLASS = 25,
    EC_RAW_SOURCE = 32,
    EC_RAW_DESTINATION = 48,
    EC_RAW_HAS_DESTINATION = 1,
    EC_RAW_HAS_HOP_LIMIT = 4,
    EC_RAW_HAS_CLASS = 8,
    EC_RAW_IS_CUT = 32,
    EC_IPV6_HEADER = 40
};

/* Roles of a candidate address. */
enum { EC_ROLE_OWN = 1, EC_ROLE_JOINED = 2, EC_ROLE_LISTED = 4, EC_ROLE_SOURCE = 8, EC_ROLE_WELL_KNOWN = 16, EC_ROLE_TOLD = 32 };

/* What a call does. */
enum { EC_IPV6_WRITE = 1, EC_IPV6_INFER = 2, EC_IPV6_JOIN = 4 };

/* How the Next Header is known, and the destination. */
enum {
    EC_HOW_UNKNOWN,
    EC_HOW_SHAPE,
    EC_HOW_CHECKSUM,
    EC_HOW_OFFLOADED,
    EC_HOW_OFFLOADED_LARGE,
    EC_HOW_OWN_SUM,
    EC_HOW_FLOW,
    EC_HOW_EMPTY,
    EC_HOW_SERIES
};
enum {
    EC_TO_UNKNOWN,
    EC_TO_TOLD,
    EC_TO_FLOW_SUM,
    EC_TO_KIND_SUM,
    EC_TO_ONLY_SUM,
    EC_TO_CONTEXT_SUM,
    EC_TO_FLOW,
    EC_TO_KIND,
    EC_TO_JOINED,
    EC_TO_ANSWERED,
    EC_TO_SOLE,
    EC_TO_SEVERAL
};

/* All arrays are the caller's. Addresses are never taken out again; what else was learnt is one map from 64-bit keys,
 * emptied when limit entries are used. */
typedef struct {
    uint8_t *address;       /* capacity rows of 16 bytes */
    uint64_t *address_hash; /* of each */
    uint16_t *address_sum;  /* of each: its 16-bit words, modulo 65535 */
    uint8_t *role;          /* of each */
    int32_t *next;          /* of each: another one with the same sum, or -1 */
    int32_t *head;          /* 65535: the first one of each sum, or -1 */
    uint32_t *slot;         /* address_slots, a power of two above capacity: index + 1, or 0 */
    uint64_t address_slots, capacity, count;
    uint64_t *key, *value; /* slots each, a power of two above limit; key 0 is free */
    uint64_t slots, limit, used;
    const uint16_t *port;           /* ports entries, ascending: services that talk to groups */
    const uint8_t *port_address;    /* of each: the group */
    uint64_t ports;
    uint64_t sole; /* who is the only other one may be told from: 0 nothing, 1 the machine's own addresses, 2 all seen */
} ec_ipv6_state;

/* Adds addresses (16 bytes a row) with these roles; one that is there gets the roles too. Returns how many are known. */
EC_API int64_t ec_ipv6_add(ec_ipv6_state *state, const uint8_t *address, size_t rows, uint32_t role);

/* For each row: record[i] is a record's header of EC_RAW_SIZE bytes in buffer, payload[i] the first of captured[i] bytes
 * of a packet that had original[i] of them behind its IPv6 header. Learns from it, and with EC_IPV6_WRITE puts the IPv6
 * header into the 40 bytes before payload[i]. evidence[i]: Next Header, how it is known << 8, how the destination is
 * known << 16. Returns rows, or -(i + 1) for the first row outside the buffer. */
EC_API int64_t ec_ipv6_rebuild(ec_ipv6_state *state, uint8_t *buffer, size_t size, const int64_t *record,
                               const int64_t *payload, const uint32_t *captured, const uint32_t *original, size_t rows,
                               uint32_t mode, uint32_t *evidence);

#endif
