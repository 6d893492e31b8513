/* Plain LZ77: any bytes decode without a fault, and the same whatever pieces input and output come in. */
#include <stdlib.h>

#include "xpress.h"

#define OUTPUT 16384u

static int64_t decode_in_pieces(const uint8_t *in, size_t size, size_t piece, uint8_t *out, int32_t *status)
{
    ec_xpress state;
    ec_xpress_start(&state);
    const uint8_t *at = in, *end = in + size;
    uint8_t *to = out;
    size_t given = 0;
    for (;;) {
        given = size - given > piece ? given + piece : size;
        do {
            size_t room = (size_t)(out + OUTPUT - to);
            uint8_t *stop = to + (room > piece ? piece : room);
            *status = ec_xpress_run(&state, &at, in + given, given == size, out, &to, stop);
        } while (*status == EC_XPRESS_OUTPUT && to < out + OUTPUT);
        if (*status != EC_XPRESS_INPUT || (given == size && at == end)) return to - out;
        if (given == size) return to - out;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) return 0;
    size_t piece = (size_t)data[0] + 64;
    data++, size--;
    uint8_t *in = malloc(size ? size : 1), *whole = malloc(OUTPUT), *pieces = malloc(OUTPUT);
    if (!in || !whole || !pieces) abort();
    memcpy(in, data, size);
    int32_t how_whole = 0, how_pieces = 0;
    int64_t made = ec_xpress_decode(in, size, whole, OUTPUT, &how_whole);
    int64_t made_in_pieces = decode_in_pieces(in, size, piece, pieces, &how_pieces);
    if (made < 0 || made > OUTPUT) abort();
    if (made != made_in_pieces || memcmp(whole, pieces, (size_t)made) != 0) abort();
    free(in), free(whole), free(pieces);
    return 0;
}
