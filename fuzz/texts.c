/* Structures with texts: whatever the bytes and counts, what is passed over lies inside its span, and a shorter span never
 * reaches further. */
#include <stdlib.h>

#include "texts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 8) return 0;
    const size_t lead = data[0] % 16, texts = data[1] % 5;
    const uint32_t counts[2] = {ec_u32(data + 2), ec_u32(data + 2)};
    const size_t cut = ec_u16(data + 6);
    data += 8, size -= 8;
    uint8_t *buffer = malloc(size ? size : 1);
    if (!buffer) abort();
    memcpy(buffer, data, size);
    const int64_t at[2] = {0, 0}, end[2] = {(int64_t)size, (int64_t)(cut < size ? cut : size)};
    int64_t after[2] = {0, 0};
    uint64_t key[2] = {0, 0};
    if (ec_skip_texts(buffer, size, at, end, counts, lead, texts, 2, after, key) != 2) abort();
    for (size_t i = 0; i < 2; i++)
        if (after[i] > end[i] || after[i] < -1 || (after[i] == -1 && key[i] != 0)) abort();
    if (after[1] >= 0 && (after[0] != after[1] || key[0] != key[1])) abort();
    const int64_t outside = (int64_t)size + 1;
    if (ec_skip_texts(buffer, size, at, &outside, counts, lead, texts, 1, after, key) != -1) abort();
    free(buffer);
    return 0;
}
