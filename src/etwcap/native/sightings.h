/* One of several rows with the same identity: the one with the lowest score. */
#ifndef ETWCAP_SIGHTINGS_H
#define ETWCAP_SIGHTINGS_H

#include "etwcap.h"

enum { EC_LEAVE_OUT = 0, EC_KEEP = 1, EC_HOLD = 2 };

/* A set of 64-bit ids (0 is none): open addressing, slots a power of two, 0 = free. */

/* For each of rows rows in time order: EC_LEAVE_OUT when another row of its identity has a lower score (or the
 * same and comes earlier) or its identity is in one of the two sets; else EC_KEEP when a row of that identity is
 * decisive or the row's own time is not after deadline; else EC_HOLD. Identity 0 is always EC_KEEP.
 * keys and best: scratch of slots entries (a power of two, more than rows), keys zeroed; slot_of: scratch of rows
 * entries. Returns the index of the first EC_HOLD, or rows; -1 when slots is unfit. */
EC_API int64_t ec_keep_best(const uint64_t *identity, const uint32_t *score, const uint8_t *decisive,
                            const int64_t *time, size_t rows, int64_t deadline, const uint64_t *young,
                            const uint64_t *old, size_t set_slots, uint64_t *keys, uint32_t *best, size_t slots,
                            uint32_t *slot_of, uint8_t *verdict);

/* Adds the ids to the set, used slots of which are taken. Returns how many were new; stops, with -1, before the
 * set is full. */
EC_API int64_t ec_remember_ids(const uint64_t *ids, size_t rows, uint64_t *set, size_t set_slots, size_t used);

#endif
