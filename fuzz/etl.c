/* ETL: any file is scanned, and its records are merged in time order, without a fault; every record lies in the arena. */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "etl.h"

#define BUFFERS 64
#define GUIDS 16
#define RECORDS 128
#define WINDOW (16u << 10)
#define LONGEST_RUN (80u << 10)
#define INPUT (4u << 10)

static int by_chain(const void *left, const void *right)
{
    const ec_etl_buffer *a = left, *b = right;
    if (a->chain != b->chain) return a->chain < b->chain ? -1 : 1;
    if (a->sequence != b->sequence) return a->sequence < b->sequence ? -1 : 1;
    return (a->offset > b->offset) - (a->offset < b->offset);
}

/* Gives every processor a chain and fills chains + 1 starts. */
static uint32_t make_chains(ec_etl_buffer *buffers, size_t count, uint32_t *starts)
{
    for (size_t i = 0; i < count; i++) buffers[i].chain = buffers[i].processor;
    qsort(buffers, count, sizeof *buffers, by_chain);
    uint32_t chains = 0;
    for (size_t i = 0, last = SIZE_MAX; i < count; i++) {
        if (i == 0 || buffers[i].chain != (uint32_t)last) {
            last = buffers[i].chain;
            starts[chains++] = (uint32_t)i;
        }
        buffers[i].chain = chains - 1;
    }
    starts[chains] = (uint32_t)count;
    return chains;
}

static void merge(int file, const ec_etl_buffer *buffers, const uint32_t *starts, uint32_t chains, uint8_t clock)
{
    const size_t budget = 64u << 10;
    const size_t arena_size = 2 * (size_t)chains * LONGEST_RUN + 2 * budget + (1u << 20);
    uint8_t *arena = malloc(arena_size), *input = malloc((size_t)chains * INPUT);
    uint8_t *history = malloc((size_t)chains * EC_XPRESS_HISTORY), *guids = calloc(GUIDS, 16);
    ec_etl_issue issues[8];
    ec_record *records = malloc(RECORDS * sizeof *records);
    if (!arena || !input || !history || !guids || !records) abort();
    const ec_etl_options options = {
        .handle = file, .arena = arena, .arena_size = arena_size, .input = input, .input_size = INPUT,
        .history = history, .window = WINDOW, .chunk_budget = budget, .guids = guids, .guid_capacity = GUIDS,
        .issues = issues, .issue_capacity = 8, .chains = chains, .chain_starts = starts, .buffers = buffers,
        .clock = {.type = clock % 3 + 1, .start = 132000000000000000, .raw0 = clock, .scale = clock & 4 ? 10 : 10000000,
                  .frequency = (int64_t)clock * clock * clock + 1},
    };
    ec_etl *engine = ec_etl_open(&options);
    if (!engine) abort();
    uint64_t counters[4] = {0};
    int64_t complete_to = INT64_MIN, rows;
    size_t in_all = 0;
    while ((rows = ec_etl_next(engine, records, RECORDS, &complete_to, counters)) > 0) {
        if (rows > RECORDS || counters[1] > GUIDS) abort();
        for (int64_t i = 0; i < rows; i++) {
            const ec_record *record = records + i;
            if (record->offset < 0 || (uint64_t)record->offset + record->size > arena_size) abort();
            if (record->payload > record->size) abort();
            if (record->provider >= GUIDS) abort();
            volatile uint8_t last = record->size ? arena[record->offset + record->size - 1] : 0;
            (void)last;
        }
        in_all += (size_t)rows;
        if (in_all > 4u << 20) abort(); /* a file of 64 KiB cannot hold so many */
    }
    ec_etl_close(engine);
    free(records), free(guids), free(history), free(input), free(arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) return 0;
    const uint8_t clock = data[0];
    data++, size--;
    const int file = memfd_create("etl", 0);
    if (file < 0 || write(file, data, size) != (ssize_t)size) abort();

    ec_etl_buffer buffers[BUFFERS];
    uint32_t starts[BUFFERS + 1];
    uint8_t work[4096];
    int64_t stopped = 0;
    int32_t reason = 0;
    int64_t count = ec_etl_scan(file, 0, (int64_t)size, 0, 0, buffers, BUFFERS, &stopped, &reason);
    if (count < 0 || count > BUFFERS || stopped < 0 || stopped > (int64_t)size) abort();
    const int64_t found = ec_etl_find_header(file, stopped, (int64_t)size, (int64_t)size, 0, 0, work, sizeof work);
    if (found != -1 && (found < stopped || found >= (int64_t)size)) abort();
    for (int64_t i = 0; i < count; i++)
        if (buffers[i].offset < 0 || buffers[i].offset + (int64_t)buffers[i].size > (int64_t)size) abort();
    if (count) merge(file, buffers, starts, make_chains(buffers, (size_t)count, starts), clock);
    close(file);
    return 0;
}
