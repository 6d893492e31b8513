/* Compression: what is compressed unpacks to the same bytes, fits the room that the header asks for, and less room is refused. */
#include "xpress_encode.h"

#include "input.h"
#include "xpress.h"

#define LONGEST (300u << 10)

/* Bytes of runs and repetitions: matches of every distance and length come soon. */
static uint8_t *grow(fuzz_input *in, size_t *size)
{
    uint8_t *made = fuzz_room(LONGEST);
    size_t n = 0;
    while (in->at < in->end && n < LONGEST) {
        const size_t how = (size_t)fuzz_number(in, 1);
        size_t length = how & 63, distance = 0;
        if (how & 128) {
            distance = (size_t)fuzz_number(in, how & 64 ? 2 : 1) + 1;
            if (length >= 48) length = (size_t)fuzz_number(in, length >= 60 ? 3 : 2) % LONGEST;
        }
        for (size_t i = 0; i <= length && n < LONGEST; i++, n++)
            made[n] = distance && distance <= n ? made[n - distance] : (uint8_t)fuzz_number(in, 1);
    }
    uint8_t *exact = fuzz_copy(made, n);
    free(made);
    *size = n;
    return exact;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, data + size};
    size_t length;
    uint8_t *plain = grow(&in, &length);
    const size_t room = length + length / 32 * 4 + 8;
    uint8_t *packed = fuzz_room(room), *again = fuzz_room(length);
    uint32_t *heads = fuzz_room(EC_XPRESS_SLOTS * sizeof *heads);
    MUST(ec_xpress_encode(plain, length, packed, room - 1, heads) == -1);
    MUST(ec_xpress_encode(plain, length, packed, 7, heads) == -1);
    MUST(ec_xpress_encode(plain, UINT32_MAX, packed, SIZE_MAX, heads) == -1);
    memset(heads, (int)(length & 0xFF), EC_XPRESS_SLOTS * sizeof *heads);
    const int64_t made = ec_xpress_encode(plain, length, packed, room, heads);
    MUST(made >= 4 && (uint64_t)made <= room);
    int32_t status = 7;
    uint8_t *exact = fuzz_copy(packed, (size_t)made);
    MUST(ec_xpress_decode(exact, (size_t)made, again, length, &status) == (int64_t)length);
    MUST(status == EC_XPRESS_END);
    MUST(length == 0 || memcmp(plain, again, length) == 0);
    free(exact), free(heads), free(again), free(packed), free(plain);
    return 0;
}
