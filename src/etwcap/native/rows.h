/* Copying fixed-width rows out of a byte buffer. */
#ifndef ETWCAP_ROWS_H
#define ETWCAP_ROWS_H

#include "etwcap.h"

/* Copies width bytes at each offsets[i] of buffer[0..size) to out + i*width. Returns rows, or the index of the
 * first row that does not lie inside the buffer, as -(index + 1). */
EC_API int64_t ec_gather_rows(const uint8_t *buffer, size_t size, const int64_t *offsets, size_t rows, size_t width,
                              uint8_t *out);

/* Copies lengths[i] bytes at each offsets[i] of buffer[0..size) behind each other into out[0..room), each row at a multiple of
 * 4; placed[i] is where. Returns the bytes used, or -(index + 1) of the first row that lies outside the buffer or has no room. */
EC_API int64_t ec_pack_rows(const uint8_t *buffer, size_t size, const int64_t *offsets, const uint32_t *lengths,
                            size_t rows, uint8_t *out, size_t room, int64_t *placed);

#endif
