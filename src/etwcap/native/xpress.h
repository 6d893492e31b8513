/* Plain LZ77 decompression (MS-XCA 2.4), resumable: input and output may come in pieces. */
#ifndef ETWCAP_XPRESS_H
#define ETWCAP_XPRESS_H

#include "etwcap.h"

/* Longest reach of a match (13-bit offset field plus 1). */
#define EC_XPRESS_HISTORY 8192u

enum ec_xpress_status {
    EC_XPRESS_INPUT = 0,  /* more input is needed */
    EC_XPRESS_OUTPUT = 1, /* the output piece is full */
    EC_XPRESS_END = 2,    /* the stream ended as it should */
    EC_XPRESS_BAD_OFFSET = -1,
    EC_XPRESS_BAD_LENGTH = -2,
    EC_XPRESS_CUT = -3 /* the input ends inside a token */
};

typedef struct ec_xpress {
    uint32_t flags;  /* unused flag bits, the next one highest */
    uint32_t left;   /* how many they are */
    uint32_t half;   /* high nibble kept for the next long match, 0x100 = none */
    uint32_t length; /* of a match that the output piece cut */
    uint32_t offset;
    uint32_t reserved;
} ec_xpress;

void ec_xpress_start(ec_xpress *state);

/* Decodes from *in to *out and moves both. history is where valid output begins (at most 8192 bytes of it are used);
 * last says that no input follows in_end. Writes nothing outside [*out, out_end). */
int ec_xpress_run(ec_xpress *state, const uint8_t **in, const uint8_t *in_end, int last, const uint8_t *history,
                  uint8_t **out, uint8_t *out_end);

/* One whole stream of known unpacked size. Returns the bytes produced; *status tells how it ended. */
EC_API int64_t ec_xpress_decode(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_size, int32_t *status);

#endif
