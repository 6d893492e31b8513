/* Slots for what a DLL of Windows calls back with: each is the one producer of a ring.
 *
 * What Windows hands back with each call is not an address but a slot's number and its generation: Windows may call after
 * the end, or never return, and finds then a slot that is no longer its own. A short lock guards each slot: a callback
 * holds it for one record, whoever closes for a moment. A kind of callbacks has a table of slots, the only global state of
 * the core; a slot is a struct that begins with ec_slot. */
#ifndef ETWCAP_SLOTS_H
#define ETWCAP_SLOTS_H

#include "etwcap.h"
#include "ring.h"

#include <stdatomic.h>

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#define EC_SLOT_REST() SwitchToThread()
#else
#include <sched.h>
#define EC_SLOT_REST() sched_yield()
#endif

#define EC_SLOT_APART 128u /* bytes behind each slot, so that two share no cache line */

struct ec_slot {
    _Atomic uint32_t taken; /* the lock; all else is under it */
    uint32_t open;
    uint64_t generation; /* of the last opening */
    ec_ring *ring;       /* NULL: ended */
};

struct ec_slots {
    void *first;
    size_t size; /* of a slot */
    uint32_t count; /* 256 at most */
    _Atomic uint64_t late; /* calls that came for a slot that had ended */
};

static inline struct ec_slot *ec_slot_at(const struct ec_slots *slots, uint32_t number) {
    return (struct ec_slot *)(void *)((char *)slots->first + slots->size * number);
}

static inline void ec_slot_lock(struct ec_slot *slot) {
    for (uint32_t tries = 0; atomic_exchange_explicit(&slot->taken, 1u, memory_order_acquire); tries++)
        if (tries > 100) EC_SLOT_REST();
}

static inline void ec_slot_unlock(struct ec_slot *slot) {
    atomic_store_explicit(&slot->taken, 0u, memory_order_release);
}

/* The slot that a context names, locked; NULL where it is another's by now. */
static inline struct ec_slot *ec_slot_claim(const struct ec_slots *slots, uint64_t context) {
    uint32_t number = (uint32_t)(context & 0xFFu);
    if (number >= slots->count) return NULL;
    struct ec_slot *slot = ec_slot_at(slots, number);
    ec_slot_lock(slot);
    if (slot->open && (slot->generation << 8 | number) == context) return slot;
    ec_slot_unlock(slot);
    return NULL;
}

/* A free slot for ring, locked, and its context; NULL where none is free. */
static inline struct ec_slot *ec_slot_open(const struct ec_slots *slots, ec_ring *ring, uint64_t *context) {
    for (uint32_t number = 0; number < slots->count; number++) {
        struct ec_slot *slot = ec_slot_at(slots, number);
        ec_slot_lock(slot);
        if (!slot->open) {
            slot->generation = (slot->generation + 1u) & (UINTPTR_MAX >> 8);
            if (!slot->generation) slot->generation = 1;
            slot->ring = ring;
            slot->open = 1;
            *context = slot->generation << 8 | number;
            return slot;
        }
        ec_slot_unlock(slot);
    }
    return NULL;
}

/* Nothing more goes into the ring, which is closed: its reader comes to its end. With free, the slot is another's then. */
static inline void ec_slot_end(const struct ec_slots *slots, uint64_t context, uint32_t free) {
    struct ec_slot *slot = ec_slot_claim(slots, context);
    if (!slot) return;
    if (slot->ring) ec_ring_close(slot->ring);
    slot->ring = NULL;
    if (free) slot->open = 0;
    ec_slot_unlock(slot);
}

static inline void ec_slot_count_late(struct ec_slots *slots) {
    atomic_fetch_add_explicit(&slots->late, 1u, memory_order_relaxed);
}

#endif
