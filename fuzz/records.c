/* Record headers and the clock: a header is read from the bytes that are there, wherever a read of them ends; a record lies
 * within what is left of its buffer; later raw times are never earlier; behind damage, records go on to the very end. */
#include "etl.h"

#include "input.h"

static ec_clock read_clock(fuzz_input *in)
{
    ec_clock clock = {.type = (int64_t)fuzz_below(in, 4), .start = (int64_t)fuzz_extreme(in), .raw0 = (int64_t)fuzz_extreme(in)};
    clock.scale = fuzz_below(in, 2) ? 10 : 10000000;
    clock.frequency = (int64_t)(fuzz_extreme(in) & INT64_MAX);
    if (clock.frequency == 0) clock.frequency = 1;
    if (fuzz_below(in, 4) == 0) clock.frequency = clock.scale;
    return clock;
}

static void check_clock(fuzz_input *in)
{
    const ec_clock clock = read_clock(in);
    int64_t raw[2] = {(int64_t)fuzz_extreme(in), (int64_t)fuzz_extreme(in)}, ns[2];
    if (raw[0] > raw[1]) {
        const int64_t held = raw[0];
        raw[0] = raw[1], raw[1] = held;
    }
    ec_clock_convert(&clock, raw, 2, ns);
    MUST(ns[0] <= ns[1]);
    MUST(ns[0] == ec_clock_ns(&clock, raw[0]) && ns[1] == ec_clock_ns(&clock, raw[1]));
    if (clock.type != 2 && clock.start > 116444736000000000 && clock.start < 116444736000000000 + INT64_MAX / 100)
        MUST(ec_clock_ns(&clock, clock.raw0) == (clock.start - 116444736000000000) * 100);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, data + size};
    check_clock(&in);
    const size_t cut = (size_t)fuzz_number(&in, 2), more = (size_t)fuzz_number(&in, 2);
    const int64_t previous = (int64_t)fuzz_extreme(&in);
    size_t have;
    uint8_t *bytes = fuzz_rest(&in, &have);
    for (size_t left = have;; left = have + more) {
        ec_record record, part_record;
        const uint8_t *guid, *part_guid;
        uint32_t stride, part_stride;
        const enum ec_parse got = ec_etl_parse(bytes, have, left, previous, &record, &guid, &stride);
        MUST(stride <= left && (stride == 0 || stride >= 8));
        if (got == EC_PARSE_OK || got == EC_PARSE_TYPE) {
            MUST(record.size >= 8 && record.size <= stride + 0u && stride <= have && record.payload <= record.size);
            MUST(guid == NULL || (guid >= bytes && guid + 16 <= bytes + record.size));
        }
        if (got == EC_PARSE_SHORT) MUST(have < 8 || stride > have);
        if (got == EC_PARSE_END) MUST(left < 8);
        /* with fewer bytes at hand: the same answer, or that more are needed */
        const size_t part = have ? cut % (have + 1) : 0;
        uint8_t *short_of = fuzz_copy(bytes, part);
        const enum ec_parse early = ec_etl_parse(short_of, part, left, previous, &part_record, &part_guid, &part_stride);
        MUST(early == got || early == EC_PARSE_SHORT);
        if (early == got && (got == EC_PARSE_OK || got == EC_PARSE_TYPE))
            MUST(part_stride == stride && memcmp(&record, &part_record, sizeof record) == 0);
        free(short_of);
        if (left == have + more) break;
    }
    const size_t end = ec_etl_records_end(bytes, have);
    MUST(end <= have && (have - end < 8 || end % 8 == 0));
    const uint32_t on = ec_etl_records_resume(bytes, have);
    MUST(on == UINT32_MAX || (on < have && on % 8 == 0));
    if (on != UINT32_MAX && on % 8 == 0) { /* from there on nothing but records */
        uint8_t *rest = fuzz_copy(bytes + on, have - on);
        MUST(have - on - ec_etl_records_end(rest, have - on) < 8);
        free(rest);
    }
    free(bytes);
    return 0;
}
