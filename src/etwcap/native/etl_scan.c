#include "etl.h"

#define HEADER 72u
#define FLAG_COMPRESSED 0x0040u
#define LARGEST 0x2000000u /* twice the largest buffer that Windows allows */

/* Field offsets of WMI_BUFFER_HEADER. */
static void read_header(const uint8_t *p, int64_t offset, ec_etl_buffer *b)
{
    memset(b, 0, sizeof *b);
    b->offset = offset;
    b->size = ec_u32(p);
    b->timestamp = ec_i64(p + 0x10);
    b->sequence = ec_i64(p + 0x18);
    b->processor = ec_u16(p + 0x28);
    b->logger = ec_u16(p + 0x2A);
    b->state = ec_u32(p + 0x2C);
    b->filled = ec_u32(p + 0x30);
    b->flags = ec_u16(p + 0x34);
    b->type = ec_u16(p + 0x36);
    if (!(b->flags & 0x0020u))
        b->processor &= 0xFFu; /* without PROC_INDEX: a byte, the next one is an alignment */
}

/* max_filled: BufferSize of the logfile header, 0 if not known; plain_size: size of every uncompressed data buffer, 0 if not known. */
static int plausible(const ec_etl_buffer *b, uint32_t max_filled, uint32_t plain_size)
{
    if (b->size < HEADER || b->size > LARGEST || b->filled < HEADER || b->filled % 8 || b->type > 7 ||
        (b->flags & ~0x007Fu))
        return 0;
    if (b->filled > (max_filled ? max_filled : LARGEST))
        return 0;
    if (b->flags & FLAG_COMPRESSED)
        return 1;
    if (b->filled > b->size)
        return 0;
    return plain_size == 0 || b->size == plain_size || b->type == 4;
}

int64_t ec_etl_scan(intptr_t handle, int64_t offset, int64_t file_size, uint32_t max_filled, uint32_t plain_size,
                    ec_etl_buffer *out, size_t capacity, int64_t *stopped, int32_t *reason)
{
    size_t rows = 0;
    uint8_t header[HEADER];
    *reason = 0;
    while (file_size - offset >= (int64_t)HEADER) {
        if (rows == capacity) {
            *reason = 1;
            break;
        }
        if (ec_file_read(handle, header, HEADER, offset) != (int64_t)HEADER) {
            *reason = 3;
            break;
        }
        ec_etl_buffer *b = out + rows;
        read_header(header, offset, b);
        if (!plausible(b, max_filled, plain_size)) {
            *reason = 2;
            break;
        }
        rows++;
        if (b->size > file_size - offset) {
            b->size = (uint32_t)(file_size - offset);
            offset = file_size;
            break;
        }
        offset += b->size;
    }
    *stopped = offset;
    return (int64_t)rows;
}

/* Whether the first record of a plain buffer could be one: a marker word as every record begins with. */
static int record_starts(const uint8_t *p)
{
    return p[3] == 0xC0 || p[3] == 0x90;
}

int64_t ec_etl_find_header(intptr_t handle, int64_t from, int64_t to, int64_t file_size, uint32_t max_filled,
                           uint32_t plain_size, uint8_t *work, size_t work_size)
{
    /* A header found by chance is sought out by its fields, by the first record behind it (plain) and by the header that must
     * follow it. */
    const size_t need = HEADER + 4;
    size_t step = 4096; /* what is sought is mostly near: little is read at first */
    if (work_size < step)
        return -1;
    if (to > file_size)
        to = file_size;
    while (from < to && file_size - from >= (int64_t)need) {
        const int64_t got = ec_file_read(handle, work, step, from);
        if (got < (int64_t)need)
            return -1;
        const size_t last = (size_t)got - need;
        for (size_t i = 0; i <= last && from + (int64_t)i < to; i++) {
            const uint8_t *p = work + i;
            /* cheap tests first: ReferenceCount 0, type 0 or 4, high flag byte 0, State small */
            if (ec_u32(p + 0x0C) || p[0x37] || p[0x35] || (p[0x36] != 0 && p[0x36] != 4) || ec_u32(p + 0x2C) > 4)
                continue;
            ec_etl_buffer b, after;
            uint8_t header[HEADER];
            const int64_t at = from + (int64_t)i;
            read_header(p, at, &b);
            if (!plausible(&b, max_filled, plain_size) || b.filled == HEADER || b.sequence < 0)
                continue;
            if (!(b.flags & FLAG_COMPRESSED) && !record_starts(p + HEADER))
                continue;
            const int64_t next = at + b.size;
            if (next >= file_size || file_size - next < (int64_t)HEADER)
                return at;
            if (ec_file_read(handle, header, HEADER, next) != (int64_t)HEADER)
                return -1;
            read_header(header, next, &after);
            if (plausible(&after, max_filled, plain_size))
                return at;
        }
        from += (int64_t)last + 1;
        step = step < work_size / 4 ? step * 4 : work_size;
    }
    return -1;
}
