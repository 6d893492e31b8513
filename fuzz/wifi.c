/* 802.11: clearing changes one bit of data frames in the clear and nothing else; the Ethernet frame ends where the 802.11
 * frame ended, has its addresses, and frames that are not converted stay as they are. */
#include "wifi.h"

#include "input.h"

#define FRAMES 3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, data + size};
    int64_t offset[FRAMES], moved_to[FRAMES];
    uint32_t captured[FRAMES], left_of[FRAMES];
    uint8_t changed[FRAMES], state[FRAMES];
    const size_t rows = fuzz_below(&in, FRAMES + 1), hostile = fuzz_below(&in, 8);
    int64_t wrong = 0;
    if (hostile == 0) wrong = fuzz_place(&in, size);
    size_t length;
    uint8_t *buffer = fuzz_rest(&in, &length), *before = fuzz_copy(buffer, length);
    for (size_t i = 0; i < rows; i++) { /* frames of equal size, next to each other */
        offset[i] = (int64_t)(length / rows * i);
        captured[i] = (uint32_t)(length / rows);
    }
    size_t fit = rows;
    if (hostile == 0 && rows) {
        offset[rows - 1] = wrong;
        if (wrong < 0 || (uint64_t)wrong > length || captured[rows - 1] > length - (size_t)wrong) fit = rows - 1;
    }
    const int64_t expected = fit == rows ? (int64_t)rows : -(int64_t)fit - 1;
    MUST(ec_wifi_clear_protected(buffer, length, offset, captured, rows, changed) == expected);
    for (size_t at = 0; at < length; at++) {
        int may = 0;
        for (size_t i = 0; i < fit; i++) may |= changed[i] && (int64_t)at == offset[i] + 1;
        MUST(buffer[at] == (may ? before[at] & ~0x40 : before[at]));
    }
    memcpy(before, buffer, length);
    memcpy(moved_to, offset, sizeof offset), memcpy(left_of, captured, sizeof captured);
    MUST(ec_wifi_to_ethernet(buffer, length, moved_to, left_of, rows, state) == expected);
    const int apart = hostile != 0; /* else two frames may share bytes */
    for (size_t i = 0; i < fit; i++) {
        const uint8_t *old = before + offset[i], *made = buffer + moved_to[i];
        MUST(moved_to[i] + left_of[i] == offset[i] + captured[i] && moved_to[i] >= offset[i]);
        if (state[i] != EC_WIFI_CONVERTED) {
            MUST(moved_to[i] == offset[i] && (state[i] == EC_WIFI_OTHER || state[i] == EC_WIFI_UNSUPPORTED));
            MUST(!apart || captured[i] == 0 || memcmp(old, made, captured[i]) == 0);
            continue;
        }
        MUST(left_of[i] >= 14 && moved_to[i] - offset[i] >= 18);
        if (!apart) continue;
        const int to = old[1] & 1, from = old[1] & 2;
        MUST(memcmp(made, to ? old + 16 : old + 4, 6) == 0);
        MUST(memcmp(made + 6, from ? old + 16 : old + 10, 6) == 0);
        MUST(memcmp(made + 12, old + (moved_to[i] - offset[i]) + 12, left_of[i] - 12) == 0);
    }
    free(before), free(buffer);
    return 0;
}
