/* Plain LZ77 compression (MS-XCA 2.3): a greedy matcher with one candidate per hash. */
#ifndef ETWCAP_XPRESS_ENCODE_H
#define ETWCAP_XPRESS_ENCODE_H

#include "etwcap.h"

/* Slots of the table of last positions that the caller lends. */
#define EC_XPRESS_SLOTS 32768u

/* Compresses in[0..size), size below 2^32 - 1, into out. heads has EC_XPRESS_SLOTS entries; what they hold does not
 * matter. Returns the bytes of the stream, or -1 if capacity is below the worst case: size + size / 32 * 4 + 8. */
EC_API int64_t ec_xpress_encode(const uint8_t *in, size_t size, uint8_t *out, size_t capacity, uint32_t *heads);

#endif
