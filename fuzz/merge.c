/* The merge of intact files: a file is made of the input's records on up to eight processors, plain or compressed, and all of
 * them come out, in time order, with their bytes, however small the windows, the chunks and the calls are. */
#include <sys/mman.h>
#include <unistd.h>

#include "etl.h"
#include "input.h"
#include "xpress_encode.h"

#define CHAINS 8
#define RECORDS 512
#define BUFFER_SIZE 4096u
#define HEADER 72u
#define WINDOW (16u << 10)
#define LONGEST_RUN (80u << 10)
#define INPUT (4u << 10)

typedef struct {
    uint8_t bytes[1u << 17]; /* of the buffer that is being filled */
    size_t used;
    int64_t sequence, time;
} processor;

typedef struct {
    uint8_t *bytes;
    size_t size;
    size_t records;
    uint64_t checksum; /* of all records, in no order */
} made_file;

static uint64_t checksum(int64_t raw, const uint8_t *record, size_t size)
{
    uint64_t sum = (uint64_t)raw & 0xFFFFFFFF;
    for (size_t i = 0; i < size; i++) sum = (sum * 31 + record[i]) & 0xFFFFFFFFFF;
    return sum;
}

static void end_buffer(made_file *file, processor *p, uint16_t number, size_t size, int compressed, uint32_t *heads)
{
    if (p->used == HEADER) return;
    uint8_t *packed = NULL;
    size_t length = p->used > size ? p->used : size;
    if (compressed) {
        const size_t plain = p->used - HEADER, room = plain + plain / 32 * 4 + 8;
        packed = fuzz_room(room);
        const int64_t made = ec_xpress_encode(p->bytes + HEADER, plain, packed, room, heads);
        MUST(made > 0);
        length = HEADER + (size_t)made;
    }
    file->bytes = realloc(file->bytes, file->size + length);
    MUST(file->bytes != NULL);
    uint8_t *header = file->bytes + file->size;
    memset(header, 0xFF, length);
    memset(header, 0, HEADER);
    ec_put32(header, (uint32_t)length);
    ec_put64(header + 0x18, (uint64_t)p->sequence++);
    ec_put16(header + 0x28, number);
    ec_put32(header + 0x30, (uint32_t)p->used);
    ec_put16(header + 0x34, compressed ? 0x61 : 0x21);
    if (compressed) memcpy(header + HEADER, packed, length - HEADER);
    else memcpy(header + HEADER, p->bytes + HEADER, p->used - HEADER);
    free(packed);
    file->size += length;
    p->used = HEADER;
}

static made_file make_file(fuzz_input *in, size_t chains, int compressed)
{
    made_file file = {0};
    processor *all = malloc(chains * sizeof *all);
    uint32_t *heads = fuzz_room(EC_XPRESS_SLOTS * sizeof *heads);
    MUST(all != NULL);
    for (size_t i = 0; i < chains; i++) {
        all[i].used = HEADER;
        all[i].sequence = 0;
        all[i].time = 1000;
    }
    while (in->at < in->end && file.records < RECORDS) {
        const size_t how = (size_t)fuzz_number(in, 1), number = how % chains;
        processor *p = all + number;
        p->time += (int64_t)fuzz_number(in, 1);
        size_t payload = how & 128 ? (size_t)fuzz_number(in, 2) % 65000 : (size_t)fuzz_number(in, 1);
        const size_t kind = (how >> 3) % 4, header = kind == 0 ? 80 : kind == 1 ? 32 : kind == 2 ? 48 : 16;
        const size_t size = header + payload, padded = (size + 7) & ~(size_t)7;
        const size_t limit = compressed ? sizeof p->bytes : how & 128 ? sizeof p->bytes : BUFFER_SIZE;
        if ((how & 64) || p->used + padded > limit) end_buffer(&file, p, (uint16_t)number, BUFFER_SIZE, compressed, heads);
        uint8_t *record = p->bytes + p->used;
        memset(record, 0, padded);
        memset(record + header, (int)(file.records * 7), payload);
        const uint32_t sized = (uint32_t)size;
        switch (kind) {
        case 0: /* EVENT_HEADER, 64 bits */
            ec_put32(record, 0xC0130000u | sized);
            memset(record + 24, (int)number + 1, 16);
            ec_put64(record + 16, (uint64_t)p->time);
            break;
        case 1: /* system */
            ec_put32(record, 0xC0020001u);
            ec_put16(record + 4, (uint16_t)size);
            ec_put64(record + 16, (uint64_t)p->time);
            break;
        case 2: /* full header, 64 bits */
            ec_put32(record, 0xC0140000u | sized);
            memset(record + 24, 0xA0, 16);
            ec_put64(record + 16, (uint64_t)p->time);
            break;
        default: /* perfinfo */
            ec_put32(record, 0xC0110001u);
            ec_put16(record + 4, (uint16_t)size);
            ec_put64(record + 8, (uint64_t)p->time);
            break;
        }
        file.checksum += checksum(p->time, record, size);
        file.records++;
        p->used += padded;
    }
    for (size_t i = 0; i < chains; i++) end_buffer(&file, all + i, (uint16_t)i, BUFFER_SIZE, compressed, heads);
    free(heads), free(all);
    return file;
}

static int by_chain(const void *left, const void *right)
{
    const ec_etl_buffer *a = left, *b = right;
    if (a->processor != b->processor) return a->processor < b->processor ? -1 : 1;
    return (a->sequence > b->sequence) - (a->sequence < b->sequence);
}

static void check_merge(int handle, const made_file *file, ec_etl_buffer *buffers, size_t count, size_t capacity,
                        size_t budget, size_t generous)
{
    uint32_t starts[CHAINS + 1], chains = 0;
    qsort(buffers, count, sizeof *buffers, by_chain);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || buffers[i].processor != buffers[i - 1].processor) starts[chains++] = (uint32_t)i;
        buffers[i].chain = chains - 1;
    }
    starts[chains] = (uint32_t)count;
    const size_t arena_size = 2 * (size_t)chains * LONGEST_RUN + 2 * budget + generous;
    uint8_t *arena = fuzz_room(arena_size), *input = fuzz_room((size_t)chains * INPUT);
    uint8_t *history = fuzz_room((size_t)chains * EC_XPRESS_HISTORY), *guids = fuzz_room(16 * 16);
    ec_etl_issue issues[8];
    ec_record *records = fuzz_room(capacity * sizeof *records);
    const ec_etl_options options = {
        .handle = handle, .arena = arena, .arena_size = arena_size, .input = input, .input_size = INPUT, .history = history,
        .window = WINDOW, .chunk_budget = budget, .guids = guids, .guid_capacity = 16, .issues = issues,
        .issue_capacity = 8, .chains = chains, .chain_starts = starts, .buffers = buffers,
        .clock = {.type = 1, .start = 132000000000000000, .raw0 = 1000, .scale = 10000000, .frequency = 10000000},
    };
    ec_etl *engine = ec_etl_open(&options);
    MUST(engine != NULL);
    size_t in_all = 0;
    uint64_t sum = 0, counters[4];
    int64_t latest = INT64_MIN, complete_to = INT64_MIN, rows;
    while ((rows = ec_etl_next(engine, records, capacity, &complete_to, counters)) > 0) {
        MUST((size_t)rows <= capacity && counters[0] == 0);
        for (int64_t i = 0; i < rows; i++) {
            const ec_record *r = records + i;
            MUST(r->time >= latest && r->time == (132000000000000000 - 116444736000000000 + r->raw - 1000) * 100);
            latest = r->time;
            MUST(r->offset >= 0 && (uint64_t)r->offset + r->size <= arena_size && r->payload <= r->size);
            sum += checksum(r->raw, arena + r->offset, r->size);
            memset(arena + r->offset, 0xEE, r->size); /* stages may change bytes */
        }
        in_all += (size_t)rows;
        MUST(complete_to == INT64_MAX || complete_to <= latest);
    }
    MUST(rows == 0 && complete_to == INT64_MAX && counters[0] == 0 && counters[3] == in_all);
    MUST(in_all == file->records && sum == file->checksum);
    ec_etl_close(engine);
    free(records), free(guids), free(history), free(input), free(arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, data + size};
    const size_t chains = fuzz_below(&in, CHAINS) + 1, how = fuzz_below(&in, 4);
    const size_t capacity = fuzz_below(&in, 64) + 1, budget = (fuzz_below(&in, 32) + 1) << 12;
    made_file file = make_file(&in, chains, how == 1);
    if (file.size) {
        const int handle = memfd_create("etl", 0);
        MUST(handle >= 0 && write(handle, file.bytes, file.size) == (ssize_t)file.size);
        ec_etl_buffer *buffers = fuzz_room((RECORDS + 1) * sizeof *buffers);
        int64_t stopped = 0;
        int32_t reason = 7;
        const int64_t count = ec_etl_scan(handle, 0, (int64_t)file.size, 0, 0, buffers, RECORDS + 1, &stopped, &reason);
        MUST(count > 0 && reason == 0 && stopped == (int64_t)file.size);
        check_merge(handle, &file, buffers, (size_t)count, capacity, budget, 1u << 20);
        free(buffers);
        close(handle);
    }
    free(file.bytes);
    return 0;
}
