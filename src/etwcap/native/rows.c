#include "rows.h"

int64_t ec_gather_rows(const uint8_t *buffer, size_t size, const int64_t *offsets, size_t rows, size_t width,
                       uint8_t *out)
{
    if (width > size && rows > 0)
        return -1;
    const uint64_t last = (uint64_t)(size - width);
    for (size_t i = 0; i < rows; i++) {
        const int64_t at = offsets[i];
        if (at < 0 || (uint64_t)at > last)
            return -(int64_t)i - 1;
        memcpy(out + i * width, buffer + at, width);
    }
    return (int64_t)rows;
}

int64_t ec_pack_rows(const uint8_t *buffer, size_t size, const int64_t *offsets, const uint32_t *lengths, size_t rows,
                     uint8_t *out, size_t room, int64_t *placed)
{
    size_t used = 0;
    for (size_t i = 0; i < rows; i++) {
        const int64_t at = offsets[i];
        const size_t length = lengths[i];
        if (at < 0 || (uint64_t)at > size || length > size - (size_t)at || length > room - used)
            return -(int64_t)i - 1;
        memcpy(out + used, buffer + at, length);
        placed[i] = (int64_t)used;
        used += length;
        while ((used & 3u) && used < room)
            out[used++] = 0;
    }
    return (int64_t)used;
}
