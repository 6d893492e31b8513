/* The callbacks of PktMon's API: wherever a descriptor says that metadata and packet lie, what comes out of the ring is an
 * event of PktMon with exactly these bytes, or is counted; a call for a slot that has ended does nothing. One thread plays
 * all sides. */
#include "etl.h"
#include "pktmon_stream.h"

#include "input.h"

#define BEFORE 8u
#define HEAD 34u
#define LONGEST 65535u

static void check_record(const uint8_t *row, uint32_t length, const struct ec_stream_data *given)
{
    const uint32_t size = length - BEFORE;
    ec_record parsed;
    const uint8_t *guid, *metadata = given->data + given->metadata_offset;
    uint32_t stride;
    uint8_t *exact = fuzz_copy(row + BEFORE, size);
    MUST(ec_etl_parse(exact, size, size, 0, &parsed, &guid, &stride) == EC_PARSE_OK);
    MUST(parsed.size == size && parsed.payload == 80 && parsed.raw == ec_i64(metadata + 32));
    MUST(parsed.id == (ec_u32(metadata + 22) ? 170 : 160) && ec_u16(row) == ec_u16(metadata + 30));
    const uint8_t *event = exact + 80;
    const uint32_t there = given->size - given->packet_offset, told = given->packet_length;
    uint32_t captured = told < there ? told : there;
    if (captured > LONGEST - 80 - HEAD) captured = LONGEST - 80 - HEAD;
    MUST(size == 80 + HEAD + captured && memcmp(event, metadata, 30) == 0);
    MUST(ec_u16(event + 30) == (told > 65535 ? 65535 : told) && ec_u16(event + 32) == captured);
    MUST(captured == 0 || memcmp(event + HEAD, given->data + given->packet_offset, captured) == 0);
    free(exact);
}

static void call(fuzz_input *in, ec_ring *ring, uint64_t context, int ended)
{
    const uint32_t size = (uint32_t)fuzz_number(in, fuzz_below(in, 8) ? 1 : 3) % 100000u;
    uint8_t *data = fuzz_room(size);
    for (uint32_t i = 0; i < size && i < 300; i++) data[i] = (uint8_t)fuzz_number(in, 1);
    if (size > 300) memset(data + 300, 0x5A, size - 300);
    struct ec_stream_data given = {.data = fuzz_below(in, 32) ? data : NULL, .size = size};
    given.metadata_offset = (uint32_t)fuzz_number(in, fuzz_below(in, 16) ? 1 : 4) % (fuzz_below(in, 2) ? 9u : UINT32_MAX);
    given.packet_offset = fuzz_below(in, 4) ? given.metadata_offset / 2 + 40u : (uint32_t)fuzz_number(in, 4);
    if (fuzz_below(in, 4)) given.packet_offset = given.metadata_offset < 1000 ? given.metadata_offset + 40u : 40u;
    given.packet_length = (uint32_t)fuzz_number(in, fuzz_below(in, 8) ? 2 : 4);
    given.missed_writing = (uint32_t)fuzz_number(in, 1);
    struct ec_pktmon_counts before = {0}, after = {0};
    struct ec_ring_counts ring_before, ring_after;
    const int32_t open = ec_pktmon_count(context, &before);
    const uint64_t late = ec_pktmon_late();
    ec_ring_count(ring, &ring_before);
    ec_pktmon_data((void *)(uintptr_t)context, &given);
    ec_ring_count(ring, &ring_after);
    MUST(ec_pktmon_count(context, &after) == open);
    MUST((ec_pktmon_late() - late == 1) == ended);
    if (open && !ended) {
        MUST(after.packets + after.malformed == before.packets + before.malformed + 1);
        MUST(after.missed == before.missed + given.missed_writing);
        if (!given.data || given.metadata_offset > size || size - given.metadata_offset < EC_PKTMON_METADATA ||
            given.packet_offset > size)
            MUST(after.malformed == before.malformed + 1);
    }
    const uint64_t took = ring_after.taken - ring_before.taken;
    MUST(!ended || (took == 0 && ring_after.refused == ring_before.refused));
    if (took) {
        uint8_t *out = fuzz_room(BEFORE + LONGEST);
        int64_t time, offset;
        uint32_t length;
        uint16_t kind;
        const struct ec_ring_columns columns = {&time, &offset, &length, &kind};
        struct ec_ring_drained drained;
        MUST(ec_ring_drain(ring, out, BEFORE + LONGEST, 1, &columns, &drained) == 0 && drained.rows == 1);
        MUST(kind == EC_PKTMON_RECORD && time == ec_i64(given.data + given.metadata_offset + 32));
        check_record(out + offset, length, &given);
        free(out);
    }
    free(data);
}

static void tell(fuzz_input *in, uint64_t context)
{
    uint8_t info[16];
    for (size_t i = 0; i < sizeof info; i++) info[i] = (uint8_t)fuzz_number(in, 1);
    uint8_t *exact = fuzz_copy(info, sizeof info);
    ec_pktmon_event((void *)(uintptr_t)context, fuzz_below(in, 4) ? exact : NULL, (uint32_t)fuzz_below(in, 6));
    free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, data + size};
    ec_ring *ring = ec_ring_create(EC_RING_SMALLEST << (6 * fuzz_below(&in, 2)));
    MUST(ring != NULL);
    const uint64_t context = ec_pktmon_open(ring);
    MUST(context != 0);
    int ended = 0, closed = 0;
    for (size_t calls = 0; calls < 64 && in.at < in.end; calls++) {
        const size_t what = fuzz_below(&in, 32);
        if (what == 0) {
            ec_pktmon_end(context);
            ended = 1;
        } else if (what == 1) {
            ec_pktmon_close(context);
            ended = closed = 1;
        } else if (what < 6) {
            tell(&in, context);
        } else {
            const int stray = what == 6; /* a context that nobody has */
            call(&in, ring, stray ? context ^ (1u << (8 + fuzz_below(&in, 24))) : context, ended || stray);
        }
    }
    struct ec_pktmon_counts counts;
    MUST(ec_pktmon_count(context, &counts) == !closed);
    ec_pktmon_close(context);
    ec_pktmon_close(context);
    ec_ring_destroy(ring);
    return 0;
}
