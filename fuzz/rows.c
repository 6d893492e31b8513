/* Copies out of a buffer: rows of equal width and ranges of any length; the first that does not fit is named, and what comes
 * before it is copied. */
#include "ranges.h"
#include "rows.h"

#include "input.h"

#define ROWS 24

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, data + size};
    const size_t rows = fuzz_below(&in, ROWS + 1);
    const size_t width = fuzz_below(&in, 4) ? fuzz_below(&in, 96) : (size_t)fuzz_number(&in, 2);
    uint8_t places[ROWS][9];
    uint32_t lengths[ROWS];
    size_t sum = 0;
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < 9; j++) places[i][j] = (uint8_t)fuzz_number(&in, j == 0 || places[i][0] == 250 ? 1 : 0);
        lengths[i] = (uint32_t)fuzz_extreme(&in);
    }
    const size_t less = fuzz_below(&in, 8);
    size_t left;
    uint8_t *buffer = fuzz_rest(&in, &left);
    int64_t *offsets = fuzz_room(rows * sizeof *offsets), *placed = fuzz_room(rows * sizeof *placed);
    size_t wide = rows, ranged = rows;
    for (size_t i = 0; i < rows; i++) {
        fuzz_input place = {places[i], places[i] + 9};
        offsets[i] = fuzz_place(&place, left);
        const int starts = offsets[i] >= 0 && (uint64_t)offsets[i] <= left;
        const size_t behind = starts ? left - (size_t)offsets[i] : 0;
        if (wide == rows && (!starts || width > behind)) wide = i;
        if (ranged == rows && (!starts || lengths[i] > behind)) ranged = i;
        if (ranged == rows) sum += lengths[i];
    }
    uint8_t *out = fuzz_room(width <= left ? rows * width : 0);
    const int64_t gathered = ec_gather_rows(buffer, left, offsets, rows, width, out);
    MUST(gathered == (wide == rows ? (int64_t)rows : width > left ? -1 : -(int64_t)wide - 1));
    for (size_t i = 0; width <= left && i < wide && width; i++)
        MUST(memcmp(out + i * width, buffer + offsets[i], width) == 0);
    free(out);

    const size_t room = ranged == rows && less < sum ? sum - less : sum; /* at times too little */
    size_t used = 0, expected = ranged;
    for (size_t i = 0; i < ranged && expected == ranged; i++) {
        if (lengths[i] > room - used) expected = i;
        else used += lengths[i];
    }
    out = fuzz_room(room);
    const int64_t copied = ec_copy_ranges(buffer, left, offsets, lengths, rows, out, room, placed);
    MUST(copied == (expected == rows ? (int64_t)used : -(int64_t)expected - 1));
    int64_t at = 0;
    for (size_t i = 0; i < expected; at += lengths[i++]) {
        MUST(placed[i] == at);
        if (lengths[i]) MUST(memcmp(out + at, buffer + offsets[i], lengths[i]) == 0);
    }
    free(out), free(placed), free(offsets), free(buffer);
    return 0;
}
