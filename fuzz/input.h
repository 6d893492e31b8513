/* What the targets share: an input cut into numbers and bytes, memory of exact sizes, and claims that must hold. */
#ifndef ETWCAP_FUZZ_INPUT_H
#define ETWCAP_FUZZ_INPUT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(claim) \
    do { \
        if (!(claim)) { \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #claim); \
            abort(); \
        } \
    } while (0)

typedef struct {
    const uint8_t *at, *end;
} fuzz_input;

/* The next bytes as a little-endian number; zeros follow the end. */
static inline uint64_t fuzz_number(fuzz_input *in, size_t bytes)
{
    uint64_t number = 0;
    for (size_t i = 0; i < bytes && in->at < in->end; i++) number |= (uint64_t)*in->at++ << (8 * i);
    return number;
}

/* A number below limit, of one byte. */
static inline size_t fuzz_below(fuzz_input *in, size_t limit) { return (size_t)fuzz_number(in, 1) % limit; }

/* A place in 0..size, or one that is wrong by little or much. */
static inline int64_t fuzz_place(fuzz_input *in, size_t size)
{
    const uint64_t how = fuzz_number(in, 1);
    switch (how) {
    case 255: return -1;
    case 254: return INT64_MAX;
    case 253: return INT64_MIN;
    case 252: return (int64_t)size + 1;
    case 251: return (int64_t)size;
    case 250: return (int64_t)fuzz_number(in, 8);
    default: return (int64_t)(how * 257 % (size + 1));
    }
}

/* A 64-bit number: small ones and extreme ones more often than others. */
static inline uint64_t fuzz_extreme(fuzz_input *in)
{
    static const uint64_t chosen[] = {0, 1, UINT64_MAX, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT32_MAX, 1u << 31, 65535};
    const uint64_t how = fuzz_number(in, 1);
    if (how < 8) return chosen[how];
    return how < 128 ? how - 8 : fuzz_number(in, how < 192 ? 4 : 8);
}

/* Memory of just that size, so that a byte too far is seen. */
static inline void *fuzz_room(size_t size)
{
    void *room = calloc(size ? size : 1, 1);
    MUST(room != NULL);
    return room;
}

/* A copy of bytes, in memory of just that size. */
static inline uint8_t *fuzz_copy(const uint8_t *data, size_t size)
{
    uint8_t *room = fuzz_room(size);
    if (size) memcpy(room, data, size);
    return room;
}

/* What is left of the input. */
static inline uint8_t *fuzz_rest(fuzz_input *in, size_t *size)
{
    *size = (size_t)(in->end - in->at);
    uint8_t *rest = fuzz_copy(in->at, *size);
    in->at = in->end;
    return rest;
}

#endif
