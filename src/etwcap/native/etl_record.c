#include "etl.h"

/* Record header types, evntrace.h / NTWMI.H. */
enum {
    SYSTEM32 = 0x01, SYSTEM64 = 0x02, COMPACT32 = 0x03, COMPACT64 = 0x04,
    FULL32 = 0x0A, INSTANCE32 = 0x0B, ERROR_RECORD = 0x0D, MESSAGE = 0x0F,
    PERFINFO32 = 0x10, PERFINFO64 = 0x11, EVENT32 = 0x12, EVENT64 = 0x13, FULL64 = 0x14, INSTANCE64 = 0x15
};

#define NOBODY 0xFFFFFFFFu

/* Offset of the payload of an EVENT_HEADER with extended items: inline, each with its stride and a bit that says whether
 * another follows. Items that do not fit end the walk: the payload then begins where they do. */
static uint16_t skip_extended(const uint8_t *p, uint32_t size)
{
    uint32_t at = 80;
    for (;;) {
        if (size - at < 8)
            return (uint16_t)at;
        const uint32_t stride = ec_u16(p + at);
        const uint32_t more = ec_u16(p + at + 4) & 1u;
        if (stride < 8 || stride > size - at)
            return (uint16_t)at;
        at += stride;
        if (!more)
            return (uint16_t)at;
    }
}

enum ec_parse ec_etl_parse(const uint8_t *p, size_t have, size_t left, int64_t previous, ec_record *r,
                           const uint8_t **guid, uint32_t *stride)
{
    *guid = NULL;
    *stride = 0;
    if (left < 8)
        return EC_PARSE_END;
    if (have < 8)
        return EC_PARSE_SHORT;
    const uint32_t marker = ec_u32(p);
    if (marker == 0 || marker == 0xFFFFFFFFu)
        return EC_PARSE_MARKER;
    const uint32_t family = marker >> 24;
    const uint32_t type = (marker >> 16) & 0xFFu;
    uint32_t size;
    if (family == 0x90 || family == 0xB0)
        size = marker & 0xFFFFu;
    else if (family != 0xC0)
        return EC_PARSE_MARKER;
    else if ((type >= SYSTEM32 && type <= COMPACT64) || type == PERFINFO32 || type == PERFINFO64)
        size = ec_u16(p + 4);
    else
        size = marker & 0xFFFFu;
    if (size < 8 || size > left)
        return EC_PARSE_SIZE;
    *stride = (size + 7u) & ~7u;
    if (*stride > left)
        *stride = (uint32_t)left;
    if (have < *stride) /* the caller brings the whole record, padding too, before it is used */
        return EC_PARSE_SHORT;
    memset(r, 0, sizeof *r);
    r->size = (uint16_t)size;
    r->type = (uint8_t)type;
    r->raw = previous;
    r->process = r->thread = NOBODY;

    if (family == 0x90) {
        /* WPP: only what the option word names, in this order (MESSAGE_TRACE_HEADER). */
        const uint32_t options = ec_u16(p + 6);
        uint32_t at = 8;
        r->type = MESSAGE;
        r->id = ec_u16(p + 4);
        if (options & 0x0001)
            at += 4;
        if (options & 0x0004) {
            at += 4;
        } else if (options & 0x0002) {
            if (at + 16 > size)
                return EC_PARSE_SIZE;
            *guid = p + at;
            at += 16;
        }
        if (options & 0x0018) {
            if (at + 8 > size)
                return EC_PARSE_SIZE;
            if (options & 0x0008)
                r->raw = ec_i64(p + at);
            at += 8;
        }
        if (options & 0x0020) {
            if (at + 8 > size)
                return EC_PARSE_SIZE;
            r->thread = ec_u32(p + at);
            r->process = ec_u32(p + at + 4);
            at += 8;
        }
        if (at > size)
            return EC_PARSE_SIZE;
        r->payload = (uint16_t)at;
        return EC_PARSE_OK;
    }
    if (family == 0xB0) {
        r->payload = 8;
        return EC_PARSE_TYPE;
    }
    switch (type) {
    case SYSTEM32: case SYSTEM64: case COMPACT32: case COMPACT64: {
        const uint32_t header = type >= COMPACT32 ? 24 : 32;
        if (size < header)
            return EC_PARSE_SIZE;
        r->version = p[0];
        r->opcode = p[6];
        r->id = p[6];
        r->provider = -1 - (int32_t)p[7];
        r->thread = ec_u32(p + 8);
        r->process = ec_u32(p + 12);
        r->raw = ec_i64(p + 16);
        r->payload = (uint16_t)header;
        return EC_PARSE_OK;
    }
    case PERFINFO32: case PERFINFO64: {
        if (size < 16)
            return EC_PARSE_SIZE;
        /* Extension words between header and payload: PEBS index, PMC counters. */
        uint32_t extra = 0;
        if (p[1] & 0x80)
            extra += 8;
        extra += 8u * (p[1] & 7u);
        r->version = p[0];
        r->opcode = p[6];
        r->id = p[6];
        r->provider = -1 - (int32_t)p[7];
        r->raw = ec_i64(p + 8);
        r->payload = (uint16_t)(16 + extra <= size ? 16 + extra : size);
        return EC_PARSE_OK;
    }
    case FULL32: case FULL64: case INSTANCE32: case INSTANCE64: {
        const uint32_t wide = (type == INSTANCE32 || type == INSTANCE64) ? 72 : 48;
        if (size < 48)
            return EC_PARSE_SIZE;
        r->opcode = p[4];
        r->id = p[4];
        r->level = p[5];
        r->version = p[6];
        r->thread = ec_u32(p + 8);
        r->process = ec_u32(p + 12);
        r->raw = ec_i64(p + 16);
        *guid = p + 24;
        r->payload = (uint16_t)(wide <= size ? wide : size);
        return EC_PARSE_OK;
    }
    case EVENT32: case EVENT64: {
        if (size < 80)
            return EC_PARSE_SIZE;
        r->thread = ec_u32(p + 8);
        r->process = ec_u32(p + 12);
        r->raw = ec_i64(p + 16);
        *guid = p + 24;
        r->id = ec_u16(p + 40);
        r->version = p[42];
        r->level = p[44];
        r->opcode = p[45];
        r->keyword = ec_u64(p + 48);
        r->payload = (ec_u16(p + 4) & 1u) ? skip_extended(p, size) : 80;
        return EC_PARSE_OK;
    }
    default:
        r->payload = 8;
        return EC_PARSE_TYPE;
    }
}

/* 100 ns units between 1601 and 1970. */
#define UNIX_EPOCH 116444736000000000LL

static int64_t saturate(__int128 v)
{
    if (v > INT64_MAX)
        return INT64_MAX;
    if (v < INT64_MIN)
        return INT64_MIN;
    return (int64_t)v;
}

int64_t ec_clock_ns(const ec_clock *c, int64_t raw)
{
    int64_t delta, t;
    if (c->type == 2)
        return saturate(((__int128)raw - UNIX_EPOCH) * 100);
    if (c->scale == c->frequency && !__builtin_sub_overflow(raw, c->raw0, &delta) &&
        !__builtin_add_overflow(c->start, delta, &t) && t > 25000000000000000LL && t < 208000000000000000LL)
        return (t - UNIX_EPOCH) * 100; /* 1677 to 2260: fits */
    const __int128 d = (__int128)raw - c->raw0;
    __int128 q = d / c->frequency;
    __int128 r = d % c->frequency;
    if (r < 0) {
        r += c->frequency;
        q -= 1;
    }
    /* |q| < 2^65, scale <= 10^7 and r < 2^63: nothing here passes 2^127. */
    return saturate((c->start + q * c->scale + r * c->scale / c->frequency - UNIX_EPOCH) * 100);
}

void ec_clock_convert(const ec_clock *clock, const int64_t *raw, size_t count, int64_t *out)
{
    for (size_t i = 0; i < count; i++)
        out[i] = ec_clock_ns(clock, raw[i]);
}
