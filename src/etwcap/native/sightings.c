#include "sightings.h"

static size_t first_slot(uint64_t id, size_t slots)
{
    return (size_t)((id * UINT64_C(0x9E3779B97F4A7C15)) >> 20) & (slots - 1);
}

/* The slot that holds the id, or the free one where it belongs; there is always a free one. */
static size_t find_slot(const uint64_t *set, size_t slots, uint64_t id)
{
    size_t at = first_slot(id, slots);
    while (set[at] != 0 && set[at] != id)
        at = (at + 1) & (slots - 1);
    return at;
}

static int unfit(size_t slots)
{
    return slots == 0 || (slots & (slots - 1)) != 0;
}

int64_t ec_keep_best(const uint64_t *identity, const uint32_t *score, const uint8_t *decisive, const int64_t *time,
                     size_t rows, int64_t deadline, const uint64_t *young, const uint64_t *old, size_t set_slots,
                     uint64_t *keys, uint32_t *best, size_t slots, uint32_t *slot_of, uint8_t *verdict)
{
    static const uint32_t decided = UINT32_C(1) << 31;
    if (unfit(slots) || unfit(set_slots) || slots <= rows || rows >= decided)
        return -1;
    for (size_t i = 0; i < rows; i++) {
        const uint64_t id = identity[i];
        verdict[i] = EC_KEEP;
        if (id == 0)
            continue;
        if (young[find_slot(young, set_slots, id)] == id || old[find_slot(old, set_slots, id)] == id) {
            verdict[i] = EC_LEAVE_OUT;
            continue;
        }
        const size_t slot = find_slot(keys, slots, id);
        slot_of[i] = (uint32_t)slot;
        if (keys[slot] == 0) {
            keys[slot] = id;
            best[slot] = (uint32_t)i;
            verdict[i] = EC_HOLD;
        } else {
            const uint32_t leader = best[slot] & ~decided;
            if (score[i] < score[leader]) {
                verdict[leader] = EC_LEAVE_OUT;
                verdict[i] = EC_HOLD;
                best[slot] = (best[slot] & decided) | (uint32_t)i;
            } else {
                verdict[i] = EC_LEAVE_OUT;
            }
        }
        if (decisive[i])
            best[slot] |= decided;
    }
    size_t first = rows;
    for (size_t i = 0; i < rows; i++) {
        if (verdict[i] != EC_HOLD)
            continue;
        if (time[i] <= deadline || (best[slot_of[i]] & decided) != 0)
            verdict[i] = EC_KEEP;
        else if (first == rows)
            first = i;
    }
    return (int64_t)first;
}

int64_t ec_remember_ids(const uint64_t *ids, size_t rows, uint64_t *set, size_t set_slots, size_t used)
{
    if (unfit(set_slots))
        return -1;
    int64_t fresh = 0;
    for (size_t i = 0; i < rows; i++) {
        if (ids[i] == 0)
            continue;
        const size_t slot = find_slot(set, set_slots, ids[i]);
        if (set[slot] == ids[i])
            continue;
        if (used + 1 >= set_slots)
            return -1;
        set[slot] = ids[i];
        used++;
        fresh++;
    }
    return fresh;
}
