#include "rows.h"

int64_t ec_gather_rows(const uint8_t *buffer, size_t size, const int64_t *offsets, size_t rows, size_t width,
                       uint8_t *out)
{
    if (width > size)
        return rows > 0 ? -1 : 0;
    const uint64_t last = (uint64_t)(size - width);
    for (size_t i = 0; i < rows; i++) {
        const int64_t at = offsets[i];
        if (at < 0 || (uint64_t)at > last)
            return -(int64_t)i - 1;
        memcpy(out + i * width, buffer + at, width);
    }
    return (int64_t)rows;
}
