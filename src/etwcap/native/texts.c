#include "texts.h"

static const uint64_t FNV_BASIS = 0xCBF29CE484222325u, FNV_PRIME = 0x100000001B3u;

/* Behind the NUL of the text that begins at p, or NULL where there is none before end. */
static const uint8_t *behind_text(const uint8_t *p, const uint8_t *end)
{
    for (; end - p >= 2; p += 2)
        if (p[0] == 0 && p[1] == 0)
            return p + 2;
    return NULL;
}

static const uint8_t *behind_structure(const uint8_t *p, const uint8_t *end, size_t lead, size_t texts)
{
    if ((size_t)(end - p) < lead)
        return NULL;
    p += lead;
    for (size_t i = 0; i < texts && p; i++)
        p = behind_text(p, end);
    return p;
}

int64_t ec_skip_texts(const uint8_t *buffer, size_t size, const int64_t *at, const int64_t *end,
                      const uint32_t *counts, size_t lead, size_t texts, size_t rows, int64_t *after, uint64_t *key)
{
    for (size_t i = 0; i < rows; i++) {
        if (at[i] < 0 || end[i] < at[i] || (uint64_t)end[i] > size)
            return -(int64_t)i - 1;
        const uint8_t *begin = buffer + at[i], *stop = buffer + end[i], *p = begin;
        for (uint32_t n = 0; n < counts[i] && p; n++) {
            const uint8_t *next = behind_structure(p, stop, lead, texts);
            if (next == p)
                break; /* structures of nothing: however many, the place is the same */
            p = next;
        }
        after[i] = p ? p - buffer : -1;
        uint64_t hash = FNV_BASIS;
        for (const uint8_t *q = begin; p && q < p; q++)
            hash = (hash ^ *q) * FNV_PRIME;
        key[i] = p ? hash : 0;
    }
    return (int64_t)rows;
}
