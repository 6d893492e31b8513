/* Writing packets: rows that do not fit their buffer are refused, the same bytes come out whatever room is given at a time, and
 * the readers of pcapng and pcap find in them what went in. */
#include "blocks.h"

#include "capfile.h"
#include "input.h"

#define ROWS 12
#define INTERFACES 3
#define TEXTS 4
#define TRUSTED 32u

typedef struct {
    int64_t time[ROWS], offset[ROWS], options_offset[ROWS];
    int32_t interface[ROWS], comment[ROWS];
    uint8_t direction[ROWS];
    uint32_t captured[ROWS], original[ROWS], flags[ROWS], process[ROWS], thread[ROWS], drop_count[ROWS],
        drop_reason[ROWS], drop_location[ROWS], options_length[ROWS];
    uint64_t packet_id[ROWS];
} columns;

static void read_columns(fuzz_input *in, columns *c, size_t rows, size_t size)
{
    for (size_t i = 0; i < rows; i++) {
        const size_t hostile = fuzz_below(in, 16);
        c->time[i] = (int64_t)fuzz_extreme(in);
        c->interface[i] = (int32_t)fuzz_below(in, INTERFACES) - (hostile == 15) + (hostile == 14 ? INTERFACES : 0);
        c->direction[i] = (uint8_t)fuzz_number(in, 1);
        c->offset[i] = fuzz_place(in, size);
        const int placed = c->offset[i] >= 0 && (uint64_t)c->offset[i] <= size;
        c->captured[i] = hostile == 13 ? (uint32_t)fuzz_extreme(in) : (uint32_t)fuzz_number(in, 1);
        if (hostile < 12 && placed && c->captured[i] > size - (size_t)c->offset[i])
            c->captured[i] = (uint32_t)(size - (size_t)c->offset[i]);
        c->original[i] = (uint32_t)fuzz_extreme(in);
        c->flags[i] = (uint32_t)fuzz_number(in, 1);
        c->process[i] = (uint32_t)fuzz_extreme(in);
        c->thread[i] = (uint32_t)fuzz_extreme(in);
        c->packet_id[i] = fuzz_extreme(in);
        c->drop_count[i] = (uint32_t)fuzz_below(in, 3);
        c->drop_reason[i] = c->drop_location[i] = (uint32_t)fuzz_extreme(in);
        c->comment[i] = (int32_t)fuzz_below(in, TEXTS + 2) - 1;
        c->options_length[i] = fuzz_below(in, 4) ? 0 : (uint32_t)fuzz_number(in, 1) & (hostile == 12 ? 255u : 252u);
        c->options_offset[i] = fuzz_place(in, size);
    }
}

typedef int32_t (*writer)(struct ec_write *);

/* Writes from `from` on until a row is refused or all are written, with so much room at a time; gives what came, the row that
 * it stopped at, and why. */
static uint8_t *write_all(struct ec_write job, writer write, size_t room, struct ec_tally *tallies, size_t *size,
                          size_t *row, int32_t *why, uint64_t *clamped)
{
    uint8_t *made = NULL;
    size_t have = 0, least = room;
    memset(tallies, 0, INTERFACES * sizeof *tallies);
    job.tallies = tallies;
    for (;;) {
        job.out = fuzz_room(room);
        job.room = room;
        job.used = 0;
        const size_t before = job.row;
        const int32_t got = write(&job);
        MUST(job.used <= room && job.row >= before && job.row <= job.rows);
        made = realloc(made, have + job.used + 1);
        MUST(made != NULL);
        memcpy(made + have, job.out, job.used);
        have += job.used;
        free(job.out);
        if (got != EC_WRITE_FULL) {
            *size = have, *row = job.row, *why = got, *clamped = job.clamped;
            return made;
        }
        MUST(job.need > room - job.used);
        room = job.used ? least : job.need;
    }
}

static void read_back(const columns *c, const struct ec_write *job, writer write, size_t from, size_t rows, uint8_t *made,
                      size_t size)
{
    const int pcapng = write == ec_epb_write;
    const struct ec_capture_interface table[INTERFACES] = {{.resolution = 9}, {.resolution = 9, .interface = 1},
                                                           {.resolution = 9, .interface = 2}};
    columns got = {{0}};
    struct ec_index index = {
        .buffer = made, .size = size, .limit = SIZE_MAX, .rows = ROWS, .latest = INT64_MIN, .scale = 1, .header = 16,
        .process_mark = TRUSTED, .table = table, .interfaces = INTERFACES, .time = got.time, .interface = got.interface,
        .direction = got.direction, .offset = got.offset, .captured = got.captured, .original = got.original,
        .flags = got.flags, .packet_id = got.packet_id, .process = got.process, .thread = got.thread,
        .options_offset = got.options_offset, .options_length = got.options_length,
    };
    const int32_t why = pcapng ? ec_pcapng_index(&index) : ec_pcap_index(&index);
    MUST(index.row == rows - from && index.at == size && (why == EC_INDEX_MORE || index.row == ROWS));
    for (size_t i = 0; i < index.row; i++) {
        const size_t row = from + i;
        int64_t time = job->time && c->time[row] > 0 ? c->time[row] : 0;
        if (!pcapng && time / 1000000000 > UINT32_MAX) time = (int64_t)UINT32_MAX * 1000000000 + 999999999;
        MUST(got.time[i] == time && got.captured[i] == c->captured[row]);
        MUST(got.captured[i] == 0 || memcmp(made + got.offset[i], job->buffer + c->offset[row], got.captured[i]) == 0);
        const uint32_t original = job->original ? c->original[row] : 0;
        MUST(got.original[i] == (original > c->captured[row] ? original : c->captured[row]));
        if (!pcapng) continue;
        MUST(got.interface[i] == (job->interface ? c->interface[row] : 0));
        if (job->options_length && c->options_length[row]) continue; /* they may say anything */
        const int direction = job->direction ? c->direction[row] & 3 : 0;
        MUST(got.direction[i] == (direction == 3 ? 0 : direction));
        MUST(got.packet_id[i] == (job->packet_id ? c->packet_id[row] : 0));
        const int told = job->process && job->flags && (c->flags[row] & TRUSTED) && c->process[row] != UINT32_MAX;
        MUST(got.process[i] == (told ? c->process[row] : UINT32_MAX));
        MUST(((got.flags[i] & TRUSTED) != 0) == told);
    }
    MUST(index.odd == 0 || job->options_length);
}

static void write_and_read(const columns *c, struct ec_write job, writer write, size_t room)
{
    while (job.row < job.rows) {
        struct ec_tally whole[INTERFACES], pieces[INTERFACES];
        size_t size, again, row, row_again;
        int32_t why, why_again;
        uint64_t clamped, clamped_again;
        const size_t from = job.row;
        uint8_t *made = write_all(job, write, 1u << 14, whole, &size, &row, &why, &clamped);
        uint8_t *piecewise = write_all(job, write, room, pieces, &again, &row_again, &why_again, &clamped_again);
        MUST(size == again && row == row_again && why == why_again && clamped == clamped_again);
        MUST(memcmp(made, piecewise, size) == 0);
        uint64_t counted = 0;
        for (size_t i = 0; i < INTERFACES; i++) {
            MUST(whole[i].packets == pieces[i].packets);
            MUST(!whole[i].packets || (whole[i].first <= whole[i].last && whole[i].first == pieces[i].first));
            counted += whole[i].packets;
        }
        MUST(counted == row - from);
        read_back(c, &job, write, from, row, made, size);
        free(made), free(piecewise);
        MUST(why == (row == job.rows ? EC_WRITE_DONE : why) && why != EC_WRITE_FULL);
        if (row == job.rows) break;
        const int32_t interface = job.interface ? c->interface[row] : 0;
        const int known = interface >= 0 && interface < INTERFACES;
        const int placed = c->offset[row] >= 0 && (uint64_t)c->offset[row] <= job.size &&
                           c->captured[row] <= job.size - (size_t)c->offset[row];
        MUST(why == EC_WRITE_UNMAPPED ? placed && known && job.numbers[interface] < 0 : why == EC_WRITE_OUTSIDE);
        MUST(why != EC_WRITE_OUTSIDE || !placed || !known || job.comment || job.options_length);
        job.row = row + 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, data + size};
    const size_t rows = fuzz_below(&in, ROWS + 1), room = (size_t)fuzz_number(&in, 1) * 4;
    const uint64_t present = fuzz_number(&in, 2);
    const size_t bytes = fuzz_below(&in, 224), text_size = fuzz_below(&in, 96);
    int32_t numbers[INTERFACES] = {0, 1, 2};
    const size_t unmapped = fuzz_below(&in, 8);
    if (unmapped < INTERFACES) numbers[unmapped] = -1;
    uint64_t text_at[TEXTS + 1];
    const int wild = fuzz_below(&in, 8) == 0;
    for (size_t i = 0, at = 0; i <= TEXTS; i++) {
        text_at[i] = wild ? fuzz_extreme(&in) : at;
        at += fuzz_below(&in, text_size - at + 1);
    }
    columns *c = fuzz_room(sizeof *c);
    read_columns(&in, c, rows, bytes);
    uint8_t *buffer = fuzz_room(bytes), *text = fuzz_room(text_size);
    for (size_t i = 0; i < bytes; i++) buffer[i] = (uint8_t)fuzz_number(&in, 1);
    for (size_t i = 0; i < text_size; i++) text[i] = (uint8_t)fuzz_number(&in, 1);
#define COLUMN(bit, name) .name = (present & (1u << (bit))) ? c->name : NULL
    const struct ec_write job = {
        .buffer = buffer, .size = bytes, .rows = rows, .trusted = TRUSTED, .numbers = numbers, .interfaces = INTERFACES,
        .text = text, .text_size = text_size, .text_at = text_at, .texts = TEXTS, .offset = c->offset,
        .captured = c->captured, COLUMN(0, time), COLUMN(1, interface), COLUMN(2, direction), COLUMN(3, original),
        COLUMN(4, flags), COLUMN(5, process), COLUMN(6, thread), COLUMN(7, packet_id), COLUMN(8, drop_count),
        COLUMN(9, drop_reason), COLUMN(10, drop_location), COLUMN(11, comment), COLUMN(12, options_offset),
        COLUMN(13, options_length),
    };
    write_and_read(c, job, ec_epb_write, room);
    write_and_read(c, job, ec_pcap_write, room);
    free(text), free(buffer), free(c);
    return 0;
}
