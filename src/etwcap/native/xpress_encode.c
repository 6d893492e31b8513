#include "xpress_encode.h"

#define WINDOW 8192u
#define MIN_MATCH 3u
#define NO_POSITION 0xFFFFFFFFu

typedef struct encoder {
    uint8_t *out;
    size_t at;       /* next byte of the output */
    size_t flags_at; /* where the current 32 flags go */
    uint32_t flags;
    uint32_t count; /* how many of them are known */
    size_t half_at; /* byte whose high nibble is free */
    int half;       /* whether there is one */
} encoder;

static inline uint32_t slot_of(const uint8_t *p)
{
    const uint32_t three = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16;
    return (three * 2654435761u) >> 17;
}

static inline void put_flag(encoder *e, uint32_t bit)
{
    e->flags = e->flags << 1 | bit;
    if (++e->count == 32) {
        ec_put32(e->out + e->flags_at, e->flags);
        e->flags_at = e->at;
        e->at += 4;
        e->count = 0;
    }
}

static inline size_t match_length(const uint8_t *a, const uint8_t *b, size_t room)
{
    size_t n = 0;
    while (room - n >= 8 && ec_u64(a + n) == ec_u64(b + n))
        n += 8;
    while (n < room && a[n] == b[n])
        n++;
    return n;
}

static inline void put_match(encoder *e, size_t offset, size_t length)
{
    const size_t more = length - MIN_MATCH;
    ec_put16(e->out + e->at, (uint16_t)((offset - 1) << 3 | (more < 7 ? more : 7)));
    e->at += 2;
    if (more >= 7) {
        const uint8_t nibble = (uint8_t)(more - 7 < 15 ? more - 7 : 15);
        if (e->half) {
            e->out[e->half_at] = (uint8_t)(e->out[e->half_at] | nibble << 4);
            e->half = 0;
        } else {
            e->half_at = e->at;
            e->half = 1;
            e->out[e->at++] = nibble;
        }
    }
    if (more >= 22) {
        if (more - 22 < 255) {
            e->out[e->at++] = (uint8_t)(more - 22);
        } else {
            e->out[e->at++] = 255;
            ec_put16(e->out + e->at, more <= 0xFFFF ? (uint16_t)more : 0);
            e->at += 2;
            if (more > 0xFFFF) {
                ec_put32(e->out + e->at, (uint32_t)more);
                e->at += 4;
            }
        }
    }
    put_flag(e, 1);
}

int64_t ec_xpress_encode(const uint8_t *in, size_t size, uint8_t *out, size_t capacity, uint32_t *heads)
{
    if (size >= NO_POSITION || capacity < 8 || capacity - 8 < size || capacity - 8 - size < size / 32 * 4)
        return -1;
    memset(heads, 0xFF, EC_XPRESS_SLOTS * sizeof *heads);
    encoder e = {.out = out, .at = 4};
    size_t i = 0;
    while (i < size) {
        if (size - i >= MIN_MATCH) {
            const uint32_t slot = slot_of(in + i);
            const uint32_t seen = heads[slot];
            heads[slot] = (uint32_t)i;
            if (seen != NO_POSITION && i - seen <= WINDOW) {
                const size_t length = match_length(in + seen, in + i, size - i);
                if (length >= MIN_MATCH) {
                    put_match(&e, i - seen, length);
                    i += length;
                    continue;
                }
            }
        }
        out[e.at++] = in[i++];
        put_flag(&e, 0);
    }
    /* The end is a match flag with no input left; the flags after it are ones too. */
    const uint32_t left = 32 - e.count;
    const uint64_t ones = ((uint64_t)1 << left) - 1;
    ec_put32(out + e.flags_at, (uint32_t)((uint64_t)e.flags << left | ones));
    return (int64_t)e.at;
}
