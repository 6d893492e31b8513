/* Addresses: hostile places are refused before anything of them is changed; what is written is read back, and the checksums
 * over it stay as right or wrong as they were. */
#include "anonymize.h"

#include "input.h"

#define FIELDS 6
#define MODULUS 0xFFFFu

static int inside(int64_t at, size_t length, size_t size)
{
    return at >= 0 && (uint64_t)at <= size && length <= size - (size_t)at;
}

static int fits(const ec_field *f, size_t size)
{
    return f->size <= 16 && inside(f->position, f->size, size) && (!f->header || inside(f->position + f->header, 2, size)) &&
           (!f->body || inside(f->position + f->body, 2, size)) && (!f->outer || inside(f->position + f->outer, 2, size));
}

static uint32_t summed(const uint8_t *p, size_t n, int odd)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i++) sum = (sum + (((i & 1) != 0) != odd ? p[i] : p[i] * 256u)) % MODULUS;
    return sum;
}

static int overlap(int64_t a, size_t n, int64_t b, size_t m) { return a < b + (int64_t)m && b < a + (int64_t)n; }

/* Whether the address and its checksums are places of their own. */
static int apart(const ec_field *f)
{
    const int32_t sums[3] = {f->header, f->body, f->outer};
    for (size_t i = 0; i < 3; i++) {
        if (!sums[i]) continue;
        if (overlap(0, f->size, sums[i], 2)) return 0;
        for (size_t j = 0; j < i; j++)
            if (sums[j] && overlap(sums[i], 2, sums[j], 2)) return 0;
    }
    return 1;
}

/* The three sums that must not change, modulo 0xFFFF: of the IP header, of the message, of the message that quotes them. */
static void sums_of(const uint8_t *buffer, const ec_field *f, uint32_t *sums)
{
    const uint8_t *p = buffer + f->position;
    const uint32_t address = summed(p, f->size, (f->flags & EC_FIELD_ODD) != 0);
    const uint32_t header = f->header ? ec_be16(p + f->header) % MODULUS : 0;
    const uint32_t body = f->body ? ec_be16(p + f->body) % MODULUS : 0;
    sums[0] = f->header ? (header + address) % MODULUS : 0;
    sums[1] = !f->body ? 0 : (f->flags & EC_FIELD_PARTIAL) ? (body + MODULUS - address) % MODULUS : (body + address) % MODULUS;
    sums[2] = f->outer ? (ec_be16(p + f->outer) + address + header + body) % MODULUS : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, data + size};
    const size_t rows = fuzz_below(&in, FIELDS + 1), gentle = fuzz_below(&in, 4);
    ec_field *fields = fuzz_room(rows * sizeof *fields);
    uint8_t *addresses = fuzz_room(rows * 16), *back = fuzz_room(rows * 16);
    for (size_t i = 0; i < rows; i++) {
        ec_field *f = fields + i;
        f->position = gentle ? (int64_t)fuzz_number(&in, 1) : (int64_t)fuzz_extreme(&in);
        f->size = (uint8_t)(gentle ? fuzz_below(&in, 17) : fuzz_number(&in, 1));
        f->flags = (uint8_t)fuzz_below(&in, 8);
        const size_t which = fuzz_below(&in, 8);
        if (which & 1) f->header = gentle ? (int8_t)fuzz_number(&in, 1) : (int32_t)fuzz_extreme(&in);
        if (which & 2) f->body = gentle ? (int8_t)fuzz_number(&in, 1) : (int32_t)fuzz_extreme(&in);
        if (which & 4) f->outer = gentle ? (int8_t)fuzz_number(&in, 1) : (int32_t)fuzz_extreme(&in);
        for (size_t j = 0; j < 16; j++) addresses[16 * i + j] = (uint8_t)fuzz_number(&in, 1);
    }
    size_t left;
    uint8_t *buffer = fuzz_rest(&in, &left);
    size_t readable = rows, writable = rows;
    for (size_t i = 0; i < rows; i++) {
        const ec_field *f = fields + i;
        if (readable == rows && (f->size > 16 || !inside(f->position, f->size, left))) readable = i;
        if (writable == rows && !fits(f, left)) writable = i;
    }
    MUST(ec_fields_read(buffer, left, fields, rows, back) == (readable == rows ? (int64_t)rows : -(int64_t)readable - 1));
    for (size_t i = 0; i < writable; i++) { /* one after another: each may change what the next one reads */
        const ec_field *f = fields + i;
        uint32_t before[3], after[3];
        sums_of(buffer, f, before);
        uint8_t *whole = fuzz_copy(buffer, left), *alone = fuzz_copy(addresses + 16 * i, 16);
        MUST(ec_fields_write(buffer, left, f, 1, alone) == 1);
        for (size_t at = 0; at < left; at++) {
            const int64_t from = (int64_t)at - f->position;
            const int may = (from >= 0 && from < f->size) || (f->header && (from == f->header || from == f->header + 1)) ||
                            (f->body && (from == f->body || from == f->body + 1)) ||
                            (f->outer && (from == f->outer || from == f->outer + 1));
            MUST(may || buffer[at] == whole[at]);
        }
        if (apart(f)) {
            sums_of(buffer, f, after);
            MUST(memcmp(before, after, sizeof before) == 0);
            MUST(ec_fields_read(buffer, left, f, 1, back) == 1 && memcmp(back, addresses + 16 * i, f->size) == 0);
        }
        free(whole), free(alone);
    }
    if (writable < rows) {
        uint8_t *whole = fuzz_copy(buffer, left);
        MUST(ec_fields_write(buffer, left, fields + writable, rows - writable, addresses) == -1);
        MUST(left == 0 || memcmp(buffer, whole, left) == 0);
        free(whole);
    }
    free(buffer), free(back), free(addresses), free(fields);
    return 0;
}
