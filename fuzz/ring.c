/* The ring: what is put and published comes out once, in order, with its bytes; what does not fit is refused and counted; nothing
 * is seen before it is published. One thread plays both sides. */
#include "ring.h"

#include "input.h"

#define MOST 4096
#define ROWS 16

typedef struct {
    uint32_t length;
    uint16_t kind;
    int64_t time;
    uint8_t fill;
} record;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, data + size};
    ec_ring *ring = ec_ring_create(EC_RING_SMALLEST << fuzz_below(&in, 3));
    MUST(ring != NULL && ec_ring_create(EC_RING_SMALLEST + 1) == NULL);
    const uint32_t longest = ec_ring_longest(ring);
    record *model = fuzz_room(MOST * sizeof *model);
    uint8_t *bytes = fuzz_room(longest + 1u), *out = fuzz_room(2u * longest);
    size_t put = 0, published = 0, given = 0;
    uint64_t refused = 0;
    int64_t promised = INT64_MIN, said = INT64_MIN;
    int ended = 0;
    for (int closed = 0; !ended && put < MOST;) {
        const size_t what = in.at < in.end ? fuzz_below(&in, 8) : closed ? 7 : 6;
        if (what < 3 && !closed) {
            const uint32_t length = (uint32_t)(fuzz_number(&in, what == 0 ? 1 : 2) % (longest + 2u));
            model[put] = (record){length, (uint16_t)(1 + fuzz_below(&in, 3)), (int64_t)fuzz_extreme(&in), (uint8_t)(put * 7)};
            if (length) memset(bytes, model[put].fill, length);
            const int32_t took = ec_ring_put(ring, model[put].kind, model[put].time, bytes, length);
            MUST(length <= longest || !took);
            MUST(took || length > longest || put > given); /* an empty ring takes every record */
            put += (size_t)took;
            refused += !took;
        } else if (what == 3 && !closed) {
            uint8_t *room = ec_ring_reserve(ring, fuzz_number(&in, 2)); /* never committed */
            refused += room == NULL;
        } else if (what < 6 && !closed) {
            const int64_t promise = (int64_t)fuzz_extreme(&in);
            ec_ring_publish(ring, promise);
            if (promise > promised) promised = promise;
            published = put;
        } else if (what == 6 && !closed && in.at >= in.end) {
            ec_ring_close(ring);
            published = put;
            closed = 1;
        } else {
            int64_t time[ROWS], offset[ROWS];
            uint32_t length[ROWS];
            uint16_t kind[ROWS];
            const struct ec_ring_columns columns = {time, offset, length, kind};
            struct ec_ring_drained drained;
            const uint64_t rows = 1 + fuzz_below(&in, ROWS);
            const uint64_t room = in.at == in.end || fuzz_below(&in, 4) ? 2u * longest : fuzz_number(&in, 2) % longest;
            const int32_t got = ec_ring_drain(ring, out, room, rows, &columns, &drained);
            MUST(got == 0 || (got == -1 && drained.rows == 0 && given < published && model[given].length > room));
            MUST(drained.rows <= rows && drained.bytes <= room && given + drained.rows <= published);
            for (size_t i = 0; i < drained.rows; i++) {
                const record *r = model + given++;
                MUST(time[i] == r->time && length[i] == r->length && kind[i] == r->kind);
                MUST(offset[i] >= 0 && (uint64_t)offset[i] + length[i] <= drained.bytes);
                for (uint32_t j = 0; j < length[i]; j++) MUST(out[(size_t)offset[i] + j] == r->fill);
            }
            MUST(drained.complete_to >= said && drained.complete_to <= promised);
            said = drained.complete_to;
            MUST(drained.more == (given < published) || drained.more == 1);
            MUST(drained.ended == (uint32_t)(closed && !drained.more));
            ended = (int)drained.ended;
        }
    }
    struct ec_ring_counts counts;
    ec_ring_count(ring, &counts);
    MUST(counts.delivered == given && counts.refused == refused && (!ended || counts.taken == given));
    free(out), free(bytes), free(model);
    ec_ring_destroy(ring);
    return 0;
}
