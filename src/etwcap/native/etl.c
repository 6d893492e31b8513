/* The merge. One chain per processor; each holds at most one run of arena units with the bytes that come next. A run that
 * was used up stays valid until the caller asks for the next chunk. */
#include "etl.h"

#include <stdlib.h>

#define HEADER 72u
#define UNIT 16384u
#define FLAG_COMPRESSED 0x0040u
#define PEEK 8u
#define NO_RUN SIZE_MAX
#define NOWHERE UINT32_MAX
#define HASH_SIZE 16384u

typedef struct chain {
    uint32_t next, end; /* buffers not yet begun: indexes in options.buffers */
    uint32_t buffer;    /* the current one */
    uint32_t total;     /* payload bytes of the current buffer, unpacked; of a plain one, those that are in the file */
    uint32_t produced;  /* of these, brought into the arena */
    uint32_t consumed;  /* of these, parsed */
    int64_t source;     /* file offset of the next input byte */
    int64_t source_end;
    int compressed;
    uint32_t ended; /* the issue kind by which the source gave less than total; 0: it has not, or that is told */
    int live;       /* head is valid */
    int exhausted; /* no record left */
    size_t run, run_units;
    size_t start, fill, limit; /* in the arena: first unparsed byte, end of bytes, end of the run */
    ec_record head;
    uint32_t stride;
    int64_t sequence, file_offset; /* of the current buffer */
    int64_t last_raw;
    int64_t low;      /* raw time of the last record taken from the current buffer or of the one before it, the earlier one;
                       * INT64_MIN: none yet */
    uint32_t resume;  /* where its records go on certainly after damage; 0: not sought yet, NOWHERE: nowhere */
    uint32_t skip_to; /* bytes before this are passed over */
    ec_xpress xpress;
    size_t input_start, input_fill; /* in the chain's input window */
    uint32_t history_size;
    uint8_t last_guid[16];
    int32_t last_provider;
} chain;

struct ec_etl {
    ec_etl_options o;
    chain *chains;
    uint32_t *heap;
    uint32_t heap_size;
    uint32_t *waiting; /* chains whose next record could not be brought yet */
    uint32_t waiting_size;
    uint8_t *units;
    size_t unit_count, unit_hint;
    size_t *retired; /* pairs: first unit, units */
    size_t retired_size, retired_capacity;
    size_t taken; /* arena bytes taken since the chunk began */
    uint16_t *hash;
    uint64_t issues, read, records;
    int64_t last_time;
};

size_t ec_etl_options_size(void) { return sizeof(ec_etl_options); }

static void report(ec_etl *e, uint32_t kind, uint32_t buffer, uint32_t position, uint32_t detail)
{
    if (e->issues < e->o.issue_capacity) {
        ec_etl_issue *i = e->o.issues + e->issues;
        i->kind = kind;
        i->buffer = buffer;
        i->position = position;
        i->detail = detail;
    }
    e->issues++;
}

/* ---- provider ordinals ---- */

static uint32_t guid_hash(const uint8_t *guid)
{
    const uint64_t v = (ec_u64(guid) ^ (ec_u64(guid + 8) * 0x9E3779B97F4A7C15ull)) * 0xD6E8FEB86659FD93ull;
    return (uint32_t)(v >> 40) & (HASH_SIZE - 1);
}

/* The ordinal; the last one of the table stands for all GUIDs that found no place. */
static int32_t guid_ordinal(ec_etl *e, const uint8_t *guid)
{
    uint32_t slot = guid_hash(guid);
    while (e->hash[slot]) {
        const uint32_t ordinal = e->hash[slot] - 1u;
        if (memcmp(e->o.guids + 16u * (size_t)ordinal, guid, 16) == 0)
            return (int32_t)ordinal;
        slot = (slot + 1) & (HASH_SIZE - 1);
    }
    if (e->o.guid_count == e->o.guid_capacity)
        return (int32_t)e->o.guid_capacity - 1;
    memcpy(e->o.guids + 16u * (size_t)e->o.guid_count, guid, 16);
    e->hash[slot] = (uint16_t)(++e->o.guid_count);
    return (int32_t)e->o.guid_count - 1;
}

/* ---- the arena ---- */

static size_t take_run(ec_etl *e, size_t units)
{
    size_t at = e->unit_hint, free_units = 0;
    int first = 1;
    for (; at < e->unit_count; at++) {
        if (e->units[at]) {
            free_units = 0;
            continue;
        }
        if (first) {
            e->unit_hint = at;
            first = 0;
        }
        if (++free_units == units) {
            const size_t run = at + 1 - units;
            memset(e->units + run, 1, units);
            e->taken += units * UNIT;
            return run;
        }
    }
    return NO_RUN;
}

static void free_units(ec_etl *e, size_t run, size_t units)
{
    memset(e->units + run, 0, units);
    if (run < e->unit_hint)
        e->unit_hint = run;
}

static int retire(ec_etl *e, chain *c)
{
    if (c->run == NO_RUN)
        return 1;
    if (e->retired_size + 2 > e->retired_capacity) {
        const size_t capacity = e->retired_capacity ? 2 * e->retired_capacity : 256;
        size_t *grown = realloc(e->retired, capacity * sizeof *grown);
        if (!grown)
            return 0;
        e->retired = grown;
        e->retired_capacity = capacity;
    }
    e->retired[e->retired_size++] = c->run;
    e->retired[e->retired_size++] = c->run_units;
    c->run = NO_RUN;
    return 1;
}

/* ---- bringing bytes ---- */

static uint8_t *input_of(ec_etl *e, const chain *c)
{
    return e->o.input + (size_t)(c - e->chains) * e->o.input_size;
}

static uint8_t *history_of(ec_etl *e, const chain *c)
{
    return e->o.history + (size_t)(c - e->chains) * EC_XPRESS_HISTORY;
}

/* What a source ended before is told when reading comes to it, not when it is met: how far a window reads ahead makes no difference,
 * and a broken record before it from which nothing leads on loses the rest of the buffer, this end included, as one issue. */
static void fill_plain(ec_etl *e, chain *c, uint8_t *into, size_t want)
{
    const int64_t left = c->source_end - c->source;
    if ((int64_t)want > left)
        want = (size_t)left;
    const int64_t got = want ? ec_file_read(e->o.handle, into, want, c->source) : 0;
    if (got > 0) {
        c->source += got;
        c->produced += (uint32_t)got;
        c->fill += (size_t)got;
        e->read += (uint64_t)got;
    }
    if (got < 0)
        c->ended = EC_ISSUE_READ;
    else if ((c->source == c->source_end || (size_t)got < want) && c->produced < c->total)
        c->ended = EC_ISSUE_CUT;
}

static void fill_compressed(ec_etl *e, chain *c, const uint8_t *history, uint8_t *into, size_t want)
{
    uint8_t *input = input_of(e, c);
    uint8_t *out = into, *out_end = into + want;
    for (;;) {
        const uint8_t *in = input + c->input_start;
        const int last = c->source == c->source_end;
        const int status = ec_xpress_run(&c->xpress, &in, input + c->input_fill, last, history, &out, out_end);
        c->input_start = (size_t)(in - input);
        if (status == EC_XPRESS_INPUT) {
            const size_t rest = c->input_fill - c->input_start;
            memmove(input, input + c->input_start, rest);
            c->input_start = 0;
            c->input_fill = rest;
            size_t room = e->o.input_size - rest;
            if ((int64_t)room > c->source_end - c->source)
                room = (size_t)(c->source_end - c->source);
            const int64_t got = room ? ec_file_read(e->o.handle, input + rest, room, c->source) : 0;
            if (got > 0) {
                c->input_fill += (size_t)got;
                c->source += got;
                e->read += (uint64_t)got;
            }
            if (got <= 0)
                c->source_end = c->source; /* nothing more can be read: what is there is the end */
            continue;
        }
        const size_t made = (size_t)(out - into);
        c->produced += (uint32_t)made;
        c->fill += made;
        if (status != EC_XPRESS_OUTPUT && c->produced < c->total)
            c->ended = EC_ISSUE_STREAM;
        return;
    }
}

/* Makes at least need unparsed bytes of the current buffer lie together in the arena, if it has as many. Returns 0 when
 * the arena has no place now. */
static int bring(ec_etl *e, chain *c, size_t need, int may_take)
{
    const size_t have = c->fill - c->start;
    if (have >= need || c->produced == c->total || c->ended)
        return 1;
    const size_t missing = c->total - c->produced;
    size_t more = need - have < missing ? need - have : missing;
    size_t room = c->run == NO_RUN ? 0 : c->limit - c->fill;
    const uint8_t *history = NULL;
    /* A compressed stream goes on only where its history stands before it; at its beginning it needs none. */
    const int fresh = c->compressed && c->produced == 0;
    if (room < more || (c->compressed && !fresh)) {
        size_t keep = have;
        if (c->compressed && keep < c->history_size)
            keep = c->history_size;
        size_t size = keep + more;
        if (size < e->o.window)
            size = e->o.window;
        const size_t useful = keep + missing;
        if (size > useful)
            size = useful;
        const size_t units = (size + UNIT - 1) / UNIT;
        if (!may_take)
            return 0;
        const size_t run = take_run(e, units);
        if (run == NO_RUN)
            return 0;
        uint8_t *base = e->o.arena + run * UNIT;
        if (have >= keep)
            memcpy(base, e->o.arena + c->start, have);
        else
            memcpy(base, history_of(e, c) + (c->history_size - keep), keep);
        if (!retire(e, c)) {
            free_units(e, run, units);
            return 0;
        }
        c->run = run;
        c->run_units = units;
        c->start = run * UNIT + keep - have;
        c->fill = run * UNIT + keep;
        c->limit = (run + units) * UNIT;
        history = base;
        room = c->limit - c->fill;
    } else {
        history = e->o.arena + c->fill;
    }
    if (room > missing)
        room = missing;
    uint8_t *into = e->o.arena + c->fill;
    if (!c->compressed) {
        fill_plain(e, c, into, room);
        return 1;
    }
    fill_compressed(e, c, history, into, room);
    /* Stages may change packet bytes in the arena before the stream goes on: keep its history apart. */
    if (c->produced < c->total) {
        const uint8_t *end = e->o.arena + c->fill;
        size_t held = (size_t)(end - history);
        if (held > EC_XPRESS_HISTORY)
            held = EC_XPRESS_HISTORY;
        memcpy(history_of(e, c), end - held, held);
        c->history_size = (uint32_t)held;
    }
    return 1;
}

static void next_buffer(ec_etl *e, chain *c)
{
    const ec_etl_buffer *b = e->o.buffers + c->next;
    c->buffer = c->next++;
    c->sequence = b->sequence;
    c->file_offset = b->offset;
    c->compressed = (b->flags & FLAG_COMPRESSED) != 0;
    c->consumed = c->produced = 0;
    c->total = b->filled - HEADER;
    c->source = b->offset + HEADER;
    c->source_end = b->offset + b->size;
    c->low = INT64_MIN;
    c->ended = c->resume = c->skip_to = 0;
    c->history_size = 0;
    c->input_start = c->input_fill = 0;
    ec_xpress_start(&c->xpress);
    if (c->run != NO_RUN) {
        /* records begin at multiples of 8 in the buffer; keep that in the arena too */
        c->fill = (c->fill + 7u) & ~(size_t)7u;
        if (c->fill > c->limit)
            c->fill = c->limit;
        c->start = c->fill;
    }
    if (c->compressed)
        return;
    const int64_t there = c->source_end > c->source ? c->source_end - c->source : 0;
    if (there > (int64_t)c->total) {
        c->source_end = c->source + c->total;
    } else if (there < (int64_t)c->total) {
        report(e, EC_ISSUE_CUT, c->buffer, HEADER + (uint32_t)there, c->total - (uint32_t)there);
        c->total = (uint32_t)there;
    }
}

/* Passes over the rest of the current buffer. */
static void abandon(chain *c)
{
    c->consumed = c->produced = c->total;
    c->start = c->fill;
    c->source = c->source_end;
    c->ended = 0;
}

/* Tells what the source of the current buffer did not give, and passes over the rest. */
static void end_of_source(ec_etl *e, chain *c)
{
    report(e, c->ended, c->buffer, HEADER + c->produced, c->total - c->produced);
    abandon(c);
}

/* Where records certainly go on behind the damage at `from` (payload offset); NOWHERE if that is not certain. What goes on there
 * leads to the buffer's end, so a buffer is searched once at most. */
static uint32_t resume_behind(ec_etl *e, chain *c, uint32_t from)
{
    const ec_etl_buffer *b = e->o.buffers + c->buffer;
    if (c->resume == 0)
        c->resume = c->total == b->filled - HEADER && !c->ended ? ec_etl_resume(e->o.handle, b, from, c->low) : NOWHERE;
    return c->resume;
}

/* Passes over what lies before skip_to. Returns 0 when the arena has no place now. */
static int skip(ec_etl *e, chain *c, int may_take)
{
    while (c->consumed < c->skip_to && c->consumed < c->total) {
        const uint32_t want = c->skip_to - c->consumed;
        const size_t have = c->fill - c->start;
        const uint32_t step = have < want ? (uint32_t)have : want;
        c->start += step;
        c->consumed += step;
        if (step)
            continue;
        if (c->ended)
            break;
        if (!bring(e, c, PEEK, may_take))
            return 0;
    }
    return 1;
}

/* Finds the chain's next record and puts it into head. Returns 0 when the arena has no place now. */
static int prime(ec_etl *e, chain *c, int may_take)
{
    c->live = 0;
    for (;;) {
        if (!skip(e, c, may_take))
            return 0;
        const uint32_t left = c->total - c->consumed;
        if (left < PEEK) {
            if (c->ended)
                end_of_source(e, c);
            if (c->next == c->end) {
                c->exhausted = 1;
                return 1;
            }
            next_buffer(e, c);
            continue;
        }
        const uint8_t *guid;
        const size_t have = c->fill - c->start;
        enum ec_parse got =
            ec_etl_parse(e->o.arena + c->start, have, left, c->last_raw, &c->head, &guid, &c->stride);
        if (got == EC_PARSE_SHORT && !c->ended) {
            if (!bring(e, c, c->stride ? c->stride : PEEK, may_take))
                return 0;
            continue;
        }
        if (got == EC_PARSE_SHORT) { /* only the padding behind a record may be missing */
            got = ec_etl_parse(e->o.arena + c->start, have, have, c->last_raw, &c->head, &guid, &c->stride);
            if (c->stride == 0) {
                end_of_source(e, c);
                continue;
            }
        }
        const uint32_t position = HEADER + c->consumed;
        const int sized = got == EC_PARSE_OK || got == EC_PARSE_TYPE || (got == EC_PARSE_SIZE && c->stride >= 8);
        if (sized && left - c->stride >= PEEK) {
            /* a size that leads to no record is not believed before it is known where records go on */
            if (have < c->stride + PEEK && c->produced < c->total && !c->ended) {
                if (!bring(e, c, c->stride + PEEK, may_take))
                    return 0;
                continue;
            }
            if (!c->ended && !ec_etl_may_begin(e->o.arena + c->start + c->stride, left - c->stride)) {
                const uint32_t next = resume_behind(e, c, c->consumed + 8);
                if (next < c->consumed + c->stride) {
                    report(e, EC_ISSUE_RECORD_SIZE, c->buffer, position, next - c->consumed);
                    c->skip_to = next;
                    continue;
                }
            }
        }
        if (got == EC_PARSE_OK) {
            const uint32_t inner = ec_etl_swallowed(e->o.arena + c->start, c->stride, c->head.raw);
            if (inner != NOWHERE) {
                report(e, EC_ISSUE_RECORD_SIZE, c->buffer, position, inner);
                c->skip_to = c->consumed + inner;
                continue;
            }
        }
        if (sized) {
            if (got != EC_PARSE_OK) {
                report(e, got == EC_PARSE_TYPE ? EC_ISSUE_RECORD_TYPE : EC_ISSUE_RECORD_SIZE, c->buffer, position,
                       got == EC_PARSE_TYPE ? ec_u32(e->o.arena + c->start) : c->stride);
                c->start += c->stride;
                c->consumed += c->stride;
                continue;
            }
            if (guid) {
                if (memcmp(guid, c->last_guid, 16) != 0) {
                    memcpy(c->last_guid, guid, 16);
                    c->last_provider = guid_ordinal(e, guid);
                }
                c->head.provider = c->last_provider;
            } else if (c->head.type == 0x0F) {
                c->head.provider = (int32_t)e->o.guid_capacity - 1;
            }
            c->head.buffer = c->buffer;
            c->head.position = position;
            c->head.processor = e->o.buffers[c->buffer].processor;
            c->head.offset = (int64_t)c->start;
            c->low = c->head.raw < c->last_raw ? c->head.raw : c->last_raw; /* one of both may be broken */
            c->last_raw = c->head.raw;
            c->live = 1;
            return 1;
        }
        if (got == EC_PARSE_SIZE && c->total != e->o.buffers[c->buffer].filled - HEADER) {
            abandon(c); /* the record that the cut, already reported, took away */
            continue;
        }
        const uint32_t next = resume_behind(e, c, c->consumed + 8);
        report(e, got == EC_PARSE_MARKER ? EC_ISSUE_MARKER : EC_ISSUE_RECORD_SIZE, c->buffer, position,
               next == NOWHERE || next <= c->consumed ? left : next - c->consumed);
        if (next == NOWHERE || next <= c->consumed)
            abandon(c);
        else
            c->skip_to = next;
    }
}

/* ---- the heap of heads ---- */

static int before(const chain *a, const chain *b)
{
    if (a->head.raw != b->head.raw)
        return a->head.raw < b->head.raw;
    if (a->sequence != b->sequence)
        return a->sequence < b->sequence;
    if (a->head.position != b->head.position)
        return a->head.position < b->head.position;
    return a->file_offset < b->file_offset;
}

static void sift_down(ec_etl *e, uint32_t at)
{
    const uint32_t size = e->heap_size, moving = e->heap[at];
    const chain *key = e->chains + moving;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= size)
            break;
        if (child + 1 < size && before(e->chains + e->heap[child + 1], e->chains + e->heap[child]))
            child++;
        if (!before(e->chains + e->heap[child], key))
            break;
        e->heap[at] = e->heap[child];
        at = child;
    }
    e->heap[at] = moving;
}

static void heap_push(ec_etl *e, uint32_t index)
{
    uint32_t at = e->heap_size++;
    while (at && before(e->chains + index, e->chains + e->heap[(at - 1) / 2])) {
        e->heap[at] = e->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    e->heap[at] = index;
}

static void heap_pop(ec_etl *e)
{
    e->heap[0] = e->heap[--e->heap_size];
    if (e->heap_size)
        sift_down(e, 0);
}

/* ---- the interface ---- */

ec_etl *ec_etl_open(const ec_etl_options *options)
{
    if (!options->arena || options->window < UNIT || options->guid_capacity < 2 ||
        options->guid_capacity > HASH_SIZE / 2 || options->guid_count >= options->guid_capacity ||
        options->clock.frequency <= 0)
        return NULL;
    ec_etl *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    e->o = *options;
    const size_t n = options->chains ? options->chains : 1;
    e->unit_count = options->arena_size / UNIT;
    e->chains = calloc(n, sizeof *e->chains);
    e->heap = calloc(n, sizeof *e->heap);
    e->waiting = calloc(n, sizeof *e->waiting);
    e->units = calloc(e->unit_count ? e->unit_count : 1, 1);
    e->hash = calloc(HASH_SIZE, sizeof *e->hash);
    if (!e->chains || !e->heap || !e->waiting || !e->units || !e->hash) {
        ec_etl_close(e);
        return NULL;
    }
    e->last_time = INT64_MIN;
    const uint32_t seeded = e->o.guid_count;
    e->o.guid_count = 0;
    for (uint32_t i = 0; i < seeded; i++) {
        const int32_t at = guid_ordinal(e, e->o.guids + 16u * (size_t)i);
        if (at != (int32_t)i) { /* the same GUID twice */
            ec_etl_close(e);
            return NULL;
        }
    }
    for (uint32_t i = 0; i < options->chains; i++) {
        chain *c = e->chains + i;
        c->next = options->chain_starts[i];
        c->end = options->chain_starts[i + 1];
        c->run = NO_RUN;
        c->last_raw = options->clock.raw0;
        c->last_provider = -1;
        memset(c->last_guid, 0xFF, sizeof c->last_guid);
        c->last_provider = (int32_t)options->guid_capacity - 1;
        e->waiting[e->waiting_size++] = i;
    }
    return e;
}

void ec_etl_close(ec_etl *e)
{
    if (!e)
        return;
    free(e->chains);
    free(e->heap);
    free(e->waiting);
    free(e->units);
    free(e->retired);
    free(e->hash);
    free(e);
}

int64_t ec_etl_next(ec_etl *e, ec_record *out, size_t capacity, int64_t *complete_to, uint64_t *counters)
{
    for (size_t i = 0; i < e->retired_size; i += 2)
        free_units(e, e->retired[i], e->retired[i + 1]);
    e->retired_size = 0;
    e->taken = 0;

    size_t rows = 0;
    int stuck = 0;
    uint32_t still = 0;
    for (uint32_t i = 0; i < e->waiting_size; i++) {
        const uint32_t index = e->waiting[i];
        chain *c = e->chains + index;
        if (!prime(e, c, 1)) {
            e->waiting[still++] = index;
            stuck = 1;
        } else if (c->live) {
            heap_push(e, index);
        } else if (!retire(e, c)) {
            stuck = 1;
        }
    }
    e->waiting_size = still;
    while (!stuck && e->heap_size && rows < capacity) {
        const uint32_t index = e->heap[0];
        chain *c = e->chains + index;
        c->head.time = ec_clock_ns(&e->o.clock, c->head.raw);
        e->last_time = c->head.time;
        out[rows++] = c->head;
        c->start += c->stride;
        c->consumed += c->stride;
        if (!prime(e, c, e->taken < e->o.chunk_budget)) {
            e->waiting[e->waiting_size++] = index;
            heap_pop(e);
            break;
        }
        if (c->live) {
            sift_down(e, 0);
        } else {
            if (!retire(e, c)) {
                stuck = 1;
                break;
            }
            heap_pop(e);
        }
    }
    e->records += rows;
    *complete_to = e->heap_size || e->waiting_size ? e->last_time : INT64_MAX;
    counters[0] = e->issues;
    counters[1] = e->o.guid_count;
    counters[2] = e->read;
    counters[3] = e->records;
    return rows == 0 && stuck ? -1 : (int64_t)rows;
}
