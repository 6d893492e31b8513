#include "etl.h"

#include <stdlib.h>

#define HEADER 72u
#define LARGEST 0x2000000u
#define FLAG_COMPRESSED 0x0040u
#define NOWHERE UINT32_MAX
#define NO_TIME INT64_MIN
#define ANY_TIME INT64_MAX
#define NEAR ((int64_t)1 << 42) /* ticks: 5 days at 10 MHz, 20 minutes at 3.5 GHz */

int ec_etl_may_begin(const uint8_t *p, size_t left)
{
    const uint32_t family = p[3], type = p[2];
    uint32_t size = ec_u16(p);
    if (family != 0xC0 && family != 0x90 && family != 0xB0)
        return 0;
    if (family == 0xC0 && ((type >= 1 && type <= 4) || type == 0x10 || type == 0x11))
        size = ec_u16(p + 4);
    return size >= 8 && size <= left;
}

size_t ec_etl_records_end(const uint8_t *data, size_t size)
{
    size_t at = 0;
    ec_record record;
    const uint8_t *guid;
    uint32_t stride;
    while (size - at >= 8 && ec_etl_parse(data + at, size - at, size - at, 0, &record, &guid, &stride) == EC_PARSE_OK)
        at += stride;
    return at;
}

/* The time of the whole record at p and its stride; 0 where none lies there. */
static int record_at(const uint8_t *p, size_t left, int64_t *raw, uint32_t *stride)
{
    ec_record record;
    const uint8_t *guid;
    if (left < 8 || (p[3] != 0xC0 && p[3] != 0x90))
        return 0;
    if (ec_etl_parse(p, left, left, NO_TIME, &record, &guid, stride) != EC_PARSE_OK)
        return 0;
    *raw = record.raw;
    return 1;
}

/* Places (every 8 bytes) from which records lead to the end; of these, late ones: records whose time alone is broken, later than
 * that of the record behind, which is the one to compare with. */
typedef struct {
    uint8_t *good, *late;
} places;

static int has(const uint8_t *bits, uint32_t at)
{
    return bits[at / 64] >> (at / 8 % 8) & 1;
}

static void put(uint8_t *bits, uint32_t at)
{
    bits[at / 64] = (uint8_t)(bits[at / 64] | 1u << (at / 8 % 8));
}

/* Whether a record of the time `raw` may stand before the one at `next`: times do not go back, but that of one record between two
 * others may be broken. *late: it is that of this record. */
static int in_order(const uint8_t *data, uint32_t total, int64_t raw, uint32_t next, const places *known, int *late)
{
    int64_t after, then = NO_TIME;
    uint32_t stride, further;
    *late = 0;
    if (raw == NO_TIME || !record_at(data + next, total - next, &after, &stride) || after == NO_TIME)
        return 1;
    const uint32_t behind = next + stride;
    if (behind < total && !record_at(data + behind, total - behind, &then, &further))
        then = NO_TIME;
    if (has(known->late, next))
        return raw <= then; /* which has a time: it is why that one is late */
    *late = raw > after && (then == NO_TIME || raw > then);
    return 1;
}

/* high: ANY_TIME, or the latest time that the first record may have; then one without a time is none. */
static uint32_t first_certain(const uint8_t *data, uint32_t total, uint32_t from, int64_t low, int64_t high, places known)
{
    uint32_t found = NOWHERE;
    if (total < 8)
        return NOWHERE;
    for (uint32_t at = (total - 8) & ~7u; at >= from; at -= 8) {
        int64_t raw;
        uint32_t stride;
        int late = 0;
        if (record_at(data + at, total - at, &raw, &stride)) {
            const uint32_t next = at + stride;
            if (next == total || (next % 8 == 0 && total - next >= 8 && has(known.good, next) &&
                                  in_order(data, total, raw, next, &known, &late))) {
                put(known.good, at);
                if (late)
                    put(known.late, at);
                else if (raw == NO_TIME ? high == ANY_TIME : raw >= low && raw <= high)
                    found = at;
            }
        }
        if (at == 0)
            break;
    }
    return found;
}

uint32_t ec_etl_swallowed(const uint8_t *p, uint32_t stride, int64_t raw)
{
    uint8_t bits[2][65536 / 64 + 1];
    uint64_t like = 0;
    for (uint32_t at = 8; at + 8 <= stride; at += 8)
        like += (uint64_t)(p[at + 3] == 0xC0 || p[at + 3] == 0x90);
    if (like == 0 || stride > 65536)
        return NOWHERE;
    memset(bits, 0, sizeof bits);
    return first_certain(p, stride, 8, raw, raw < ANY_TIME - NEAR ? raw + NEAR : ANY_TIME - 1, (places){bits[0], bits[1]});
}

uint32_t ec_etl_resume(intptr_t handle, const ec_etl_buffer *b, uint32_t from, int64_t low)
{
    if (b->filled <= HEADER || b->filled > LARGEST || b->size <= HEADER || b->size > LARGEST)
        return NOWHERE;
    const uint32_t total = b->filled - HEADER;
    const int packed = (b->flags & FLAG_COMPRESSED) != 0;
    const uint32_t stored = packed ? b->size - HEADER : total;
    if (packed && total / EC_ETL_MOST_RATIO > b->size)
        return NOWHERE;
    uint32_t found = NOWHERE;
    uint8_t *data = malloc(total);
    const size_t room = total / 64 + 1;
    uint8_t *bits = calloc(room, 2);
    uint8_t *unpacked_from = packed ? malloc(stored) : NULL, *input = packed ? unpacked_from : data;
    if (data && bits && input && ec_file_read(handle, input, stored, b->offset + HEADER) == (int64_t)stored) {
        int32_t status;
        if (!packed || ec_xpress_decode(input, stored, data, total, &status) == (int64_t)total)
            found = first_certain(data, total, (from + 7u) & ~7u, low, ANY_TIME, (places){bits, bits + room});
    }
    free(unpacked_from);
    free(bits);
    free(data);
    return found;
}

uint32_t ec_etl_records_resume(const uint8_t *data, size_t size)
{
    const size_t room = size / 64 + 1;
    uint8_t *bits = size <= LARGEST ? calloc(room, 2) : NULL;
    const uint32_t found =
        bits ? first_certain(data, (uint32_t)size, 0, INT64_MIN, ANY_TIME, (places){bits, bits + room}) : NOWHERE;
    free(bits);
    return found;
}
