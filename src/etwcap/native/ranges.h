/* Copying byte ranges of a buffer next to each other. */
#ifndef ETWCAP_RANGES_H
#define ETWCAP_RANGES_H

#include "etwcap.h"

/* Copies buffer[offsets[i] .. +lengths[i]) to out, one after the other from out[0] on; placed[i] says where each
 * begins. Returns the bytes written, or -(i + 1) for the first range that does not lie inside the buffer or fit
 * into out. */
EC_API int64_t ec_copy_ranges(const uint8_t *buffer, size_t size, const int64_t *offsets, const uint32_t *lengths,
                              size_t rows, uint8_t *out, size_t room, int64_t *placed);

#endif
