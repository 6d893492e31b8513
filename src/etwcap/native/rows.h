/* Copying fixed-width rows out of a byte buffer. */
#ifndef ETWCAP_ROWS_H
#define ETWCAP_ROWS_H

#include "etwcap.h"

/* Copies width bytes at each offsets[i] of buffer[0..size) to out + i*width. Returns rows, or the index of the
 * first row that does not lie inside the buffer, as -(index + 1). */
EC_API int64_t ec_gather_rows(const uint8_t *buffer, size_t size, const int64_t *offsets, size_t rows, size_t width,
                              uint8_t *out);

#endif
