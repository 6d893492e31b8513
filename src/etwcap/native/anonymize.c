#include "anonymize.h"

static int outside(size_t size, int64_t at, size_t length)
{
    return at < 0 || (uint64_t)at > size || length > size - (size_t)at;
}

int64_t ec_fields_read(const uint8_t *buffer, size_t size, const ec_field *fields, size_t rows, uint8_t *out)
{
    memset(out, 0, rows * 16);
    for (size_t i = 0; i < rows; i++) {
        if (fields[i].size > 16 || outside(size, fields[i].position, fields[i].size))
            return -(int64_t)i - 1;
        memcpy(out + 16 * i, buffer + fields[i].position, fields[i].size);
    }
    return (int64_t)rows;
}

/* The sum of the words, modulo 0xFFFF. */
static uint32_t words(const uint8_t *p, size_t n)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
    return sum % 0xFFFF;
}

static void put(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

/* What is summed grew by that much (modulo 0xFFFF, not 0). */
static uint32_t grown(uint32_t sum, uint32_t by)
{
    sum += by;
    return (sum & 0xFFFF) + (sum >> 16);
}

int64_t ec_fields_write(uint8_t *buffer, size_t size, const ec_field *fields, size_t rows, const uint8_t *addresses)
{
    for (size_t i = 0; i < rows; i++) {
        const ec_field *f = fields + i;
        if (f->size > 16 || outside(size, f->position, f->size) || (f->header && outside(size, f->position + f->header, 2)) ||
            (f->body && outside(size, f->position + f->body, 2)) || (f->outer && outside(size, f->position + f->outer, 2)))
            return -(int64_t)i - 1;
        uint8_t *p = buffer + f->position;
        uint32_t change = (words(addresses + 16 * i, f->size) + 0xFFFF - words(p, f->size)) % 0xFFFF;
        if (f->flags & EC_FIELD_ODD)
            change = (change >> 8 | change << 8) & 0xFFFF;
        memcpy(p, addresses + 16 * i, f->size);
        if (change == 0)
            continue;
        uint32_t all = change;
        if (f->header) {
            put(p + f->header, ~grown(~(uint32_t)ec_be16(p + f->header) & 0xFFFF, change) & 0xFFFF);
            all += 0xFFFF - change;
        }
        if (f->body && (f->flags & EC_FIELD_PARTIAL)) {
            put(p + f->body, grown(ec_be16(p + f->body), change));
            all += change;
        } else if (f->body) {
            uint32_t sum = ~grown(~(uint32_t)ec_be16(p + f->body) & 0xFFFF, change) & 0xFFFF;
            put(p + f->body, sum == 0 && (f->flags & EC_FIELD_UDP) ? 0xFFFF : sum);
            all += 0xFFFF - change;
        }
        all %= 0xFFFF;
        if (f->outer && all)
            put(p + f->outer, ~grown(~(uint32_t)ec_be16(p + f->outer) & 0xFFFF, all) & 0xFFFF);
    }
    return (int64_t)rows;
}
