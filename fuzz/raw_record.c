/* Headers of raw-socket records from what Windows gives with a packet: whatever name and ancillary data, nothing outside is read,
 * and what is not said to be present is zero. */
#include "rawsock_record.h"

#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, data + size};
    struct ec_raw_received received = {.number = fuzz_extreme(&in), .socket = (uint32_t)fuzz_extreme(&in)};
    received.family = fuzz_below(&in, 2) ? 6 : 4;
    received.cut = (uint32_t)fuzz_below(&in, 2);
    uint8_t name[32];
    received.name_size = fuzz_below(&in, sizeof name + 1);
    for (size_t i = 0; i < sizeof name; i++) name[i] = (uint8_t)fuzz_number(&in, 1);
    uint8_t *told = fuzz_copy(name, received.name_size);
    received.name = told;
    uint8_t *control = fuzz_rest(&in, &received.control_size);
    received.control = control;
    uint8_t *out = fuzz_room(EC_RAW_HEADER), *again = fuzz_room(EC_RAW_HEADER);
    memset(out, 0xA5, EC_RAW_HEADER);
    const uint32_t present = ec_raw_header(out, &received);
    MUST(ec_u16(out + 6) == present && out[5] == received.family && ec_u64(out + 8) == received.number);
    MUST(((present & EC_RAW_CUT) != 0) == (received.cut != 0));
    static const struct {
        uint32_t bit;
        size_t at, size;
    } fields[] = {{1, 48, 16}, {2, 20, 4}, {4, 24, 1}, {8, 25, 1}};
    for (size_t i = 0; i < 4; i++)
        for (size_t j = 0; !(present & fields[i].bit) && j < fields[i].size; j++) MUST(out[fields[i].at + j] == 0);
    MUST(ec_raw_header(again, &received) == present && memcmp(out, again, EC_RAW_HEADER) == 0);
    free(again), free(out), free(control), free(told);
    return 0;
}
