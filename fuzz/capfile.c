/* pcap and pcapng: any window of bytes is indexed without a fault, every row lies inside the window, and what was read
 * can be written as pcapng and as pcap. */
#include <stdlib.h>

#include "blocks.h"
#include "capfile.h"
#include "pcap_find.h"

#define ROWS 64
#define INTERFACES 3

struct columns {
    int64_t time[ROWS], offset[ROWS], options_offset[ROWS];
    int32_t interface[ROWS];
    uint8_t direction[ROWS];
    uint32_t captured[ROWS], original[ROWS], flags[ROWS], process[ROWS], thread[ROWS], options_length[ROWS];
    uint64_t packet_id[ROWS];
};

static void check_rows(const struct columns *rows, size_t from, size_t to, size_t size)
{
    for (size_t i = from; i < to; i++) {
        if (rows->offset[i] < 0 || (uint64_t)rows->offset[i] + rows->captured[i] > size) abort();
        if (rows->options_length[i] % 4) abort();
        if (rows->options_length[i] && (rows->options_offset[i] < 0 ||
            (uint64_t)rows->options_offset[i] + rows->options_length[i] > size)) abort();
    }
}

static void write_rows(const struct columns *rows, size_t count, const uint8_t *buffer, size_t size)
{
    static const int32_t numbers[INTERFACES] = {0, 1, 2};
    struct ec_tally tallies[INTERFACES] = {{0}};
    size_t room = size + count * 256;
    uint8_t *out = malloc(room ? room : 1);
    if (!out) abort();
    struct ec_write job = {
        .buffer = buffer, .size = size, .out = out, .room = room, .rows = count, .numbers = numbers, .tallies = tallies,
        .interfaces = INTERFACES, .trusted = 32, .time = rows->time, .interface = rows->interface,
        .direction = rows->direction, .offset = rows->offset, .captured = rows->captured, .original = rows->original,
        .flags = rows->flags, .process = rows->process, .thread = rows->thread, .packet_id = rows->packet_id,
        .options_offset = rows->options_offset, .options_length = rows->options_length,
    };
    struct ec_write again = job;
    if (ec_epb_write(&job) != EC_WRITE_DONE || job.used > room) abort();
    again.room = room < 40 ? room : 40;
    int32_t result = ec_pcap_write(&again);
    if (result != EC_WRITE_DONE && result != EC_WRITE_FULL) abort();
    free(out);
}

/* Where records go on behind what is broken: a place in the window, from which records are taken again. */
static void find_record(const struct ec_index *job, uint32_t ends)
{
    const ec_pcap_form form = {job->swapped, job->scale, job->header, 1u << 16, job->either};
    uint32_t *reach = malloc((job->size - job->at + 1) * sizeof *reach);
    if (!reach) abort();
    const size_t found = ec_pcap_find(&form, job->buffer, job->size, job->at, job->size, ends, UINT32_MAX, reach);
    if (found < job->at || found > job->size) abort();
    struct ec_index again = *job;
    again.at = again.sure = found;
    again.row = 0;
    again.checks = EC_CHECK_NONE;
    if (found < job->size) {
        const int32_t how = ec_pcap_index(&again);
        if (how == EC_INDEX_BROKEN || (how == EC_INDEX_MORE && again.at == found)) abort();
    }
    free(reach);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) return 0;
    const uint8_t how = data[0], resolution = data[1];
    data += 2, size -= 2;
    uint8_t *buffer = malloc(size ? size : 1);
    struct columns *rows = calloc(1, sizeof *rows);
    if (!buffer || !rows) abort();
    memcpy(buffer, data, size);
    struct ec_capture_interface table[INTERFACES] = {
        {.resolution = resolution, .interface = 0},
        {.resolution = 6, .interface = 1, .offset = -5, .snap = 60},
        {.resolution = 9, .interface = 2, .offset = INT64_MAX, .nanos = 999999999},
    };
    const uint32_t is_pcap = how & 1;
    struct ec_index job = {
        .buffer = buffer, .size = size, .limit = 1u << 16, .rows = ROWS, .latest = INT64_MIN, .swapped = how >> 1 & 1,
        .checks = how >> 5 & 3, .either = resolution == 0xFF, .sure = 0, .scale = how & 4 ? 1 : 1000, .header = how & 8 ? 24 : 16, .late_mark = 1, .clamped_mark = 128,
        .length_mark = 256, .process_mark = 32, .table = table, .interfaces = is_pcap ? 1 : INTERFACES,
        .time = rows->time, .interface = rows->interface, .direction = rows->direction, .offset = rows->offset,
        .captured = rows->captured, .original = rows->original, .flags = rows->flags, .packet_id = rows->packet_id,
        .process = rows->process, .thread = rows->thread, .options_offset = rows->options_offset,
        .options_length = rows->options_length,
    };
    for (;;) {
        const size_t before = job.at;
        const int32_t result = is_pcap ? ec_pcap_index(&job) : ec_pcapng_index(&job);
        if (job.at < before || job.at > size || job.row > ROWS) abort();
        check_rows(rows, 0, job.row, size);
        write_rows(rows, job.row, buffer, size);
        job.row = 0;
        if (result == EC_INDEX_FULL) continue;
        if (result == EC_INDEX_BLOCK || result == EC_INDEX_MISFIT) {
            if (job.need < 12 || job.need > size - job.at) break;
            job.at += job.need;
        } else if (result == EC_INDEX_BROKEN && !is_pcap) {
            const size_t found = ec_pcapng_find(buffer, size, job.at + 1, size, job.limit, job.swapped, how >> 4 & 1);
            if (found <= job.at || found > size) abort();
            if (found == size) break;
            job.at = found;
        } else {
            if (is_pcap) find_record(&job, how >> 4 & 1);
            break;
        }
    }
    free(rows), free(buffer);
    return 0;
}
