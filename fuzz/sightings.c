/* Sightings: the verdicts are those of a plain search through all rows, whatever ids, scores, times and table sizes. */
#include "sightings.h"

#include "input.h"

#define ROWS 40
#define SET 64u

static uint64_t read_id(fuzz_input *in)
{
    const uint64_t how = fuzz_number(in, 1);
    if (how >= 250) return fuzz_number(in, 8);
    return how % 16 == 0 ? 0 : (how % 16) * (how < 128 ? 1 : UINT64_C(1) << 44); /* the latter share slots */
}

static int holds(const uint64_t *ids, size_t count, uint64_t id)
{
    for (size_t i = 0; i < count; i++)
        if (ids[i] == id) return 1;
    return 0;
}

/* A set of slots entries filled with ids, as its rule says. */
static uint64_t *make_set(fuzz_input *in, size_t slots, uint64_t *ids, size_t *count)
{
    uint64_t *set = fuzz_room(slots * sizeof *set), *asked = fuzz_room(ROWS * sizeof *asked);
    const size_t rows = fuzz_below(in, ROWS + 1);
    *count = 0;
    int full = 0;
    for (size_t i = 0; i < rows; i++) {
        asked[i] = read_id(in);
        if (full || asked[i] == 0 || holds(ids, *count, asked[i])) continue;
        if (*count + 1 >= slots) full = 1;
        else ids[(*count)++] = asked[i];
    }
    MUST(ec_remember_ids(asked, rows, set, slots, 0) == (full ? -1 : (int64_t)*count));
    size_t taken = 0;
    for (size_t i = 0; i < slots; i++) {
        if (set[i] == 0) continue;
        taken++;
        MUST(holds(ids, *count, set[i]));
    }
    MUST(taken == *count && taken < slots);
    free(asked);
    return set;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, data + size};
    const size_t set_slots = (size_t)1 << fuzz_below(&in, 7);
    uint64_t young_ids[ROWS], old_ids[ROWS];
    size_t young_count, old_count;
    uint64_t *young = make_set(&in, set_slots, young_ids, &young_count);
    uint64_t *old = make_set(&in, set_slots, old_ids, &old_count);

    const size_t rows = fuzz_below(&in, ROWS + 1);
    size_t slots = 1;
    while (slots <= rows) slots *= 2;
    const size_t how = fuzz_below(&in, 16);
    const int64_t deadline = (int64_t)fuzz_extreme(&in);
    uint64_t identity[ROWS];
    uint32_t score[ROWS];
    uint8_t decisive[ROWS];
    int64_t time[ROWS];
    for (size_t i = 0; i < rows; i++) {
        identity[i] = read_id(&in);
        score[i] = (uint32_t)fuzz_number(&in, 1) % 5 * (UINT32_MAX / 4);
        decisive[i] = fuzz_below(&in, 4) == 0;
        time[i] = (int64_t)fuzz_extreme(&in);
    }
    uint64_t *keys = fuzz_room(slots * sizeof *keys);
    uint32_t *best = fuzz_room(slots * sizeof *best), *slot_of = fuzz_room(rows * sizeof *slot_of);
    uint8_t *verdict = fuzz_room(rows);
    const size_t told = how == 15 ? 0 : how == 14 ? slots + 1 : how == 13 ? slots / 2 : slots;
    const int64_t first = ec_keep_best(identity, score, decisive, time, rows, deadline, young, old, set_slots, keys,
                                       best, told, slot_of, verdict);
    if (told != slots && (told <= rows || (told & (told - 1)) != 0)) {
        MUST(first == -1);
    } else {
        size_t held = rows;
        for (size_t i = 0; i < rows; i++) {
            uint8_t expected = EC_KEEP;
            if (identity[i] != 0) {
                int beaten = holds(young_ids, young_count, identity[i]) || holds(old_ids, old_count, identity[i]);
                int decided = 0;
                for (size_t j = 0; j < rows; j++) {
                    if (identity[j] != identity[i]) continue;
                    decided |= decisive[j];
                    beaten |= score[j] < score[i] || (score[j] == score[i] && j < i);
                }
                expected = beaten ? EC_LEAVE_OUT : decided || time[i] <= deadline ? EC_KEEP : EC_HOLD;
            }
            MUST(verdict[i] == expected);
            if (expected == EC_HOLD && held == rows) held = i;
        }
        MUST(first == (int64_t)held);
    }
    free(verdict), free(slot_of), free(best), free(keys), free(old), free(young);
    return 0;
}
