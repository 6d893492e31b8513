/* Structures of numbers and NUL-ended UTF-16 texts, passed over. */
#ifndef ETWCAP_TEXTS_H
#define ETWCAP_TEXTS_H

#include "etwcap.h"

/* At at[i] begin counts[i] structures, each of lead bytes and so many NUL-ended UTF-16 texts behind them; they must lie before
 * end[i]. after[i] is the offset behind the last one, or -1 where they do not fit; key[i] the 64-bit FNV-1a hash of
 * all their bytes (0 where they do not fit). Returns rows, or -(i + 1) for the first at[i]..end[i] that is no range of the
 * buffer. */
EC_API int64_t ec_skip_texts(const uint8_t *buffer, size_t size, const int64_t *at, const int64_t *end,
                             const uint32_t *counts, size_t lead, size_t texts, size_t rows, int64_t *after,
                             uint64_t *key);

#endif
