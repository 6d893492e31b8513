#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#endif
#include "etw_receiver.h"

#include <stdatomic.h>

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#define REST() SwitchToThread()
#else
#include <sched.h>
#define REST() sched_yield()
#endif

/* Flags of EVENT_HEADER (evntcons.h), record types and marker of a file. */
enum { EXTENDED = 0x1, HEADER32 = 0x20, PROCESSOR_INDEX = 0x200 };
enum { EVENT32 = 0x12, EVENT64 = 0x13, MARKER = 0xC0 };

#define HEADER ((uint32_t)sizeof(struct ec_event_header))
#define ITEM 8u /* the head of an extended item in a file: u16 stride, type, 1: another follows, size */
#define PADDED(n) (((n) + 7u) & ~7u)

#define GET(x) atomic_load_explicit(&(x), memory_order_relaxed)
#define PUT(x, v) atomic_store_explicit(&(x), (v), memory_order_relaxed)
#define ADD(x, v) PUT(x, GET(x) + (v)) /* under the slot's lock */

struct slot {
    _Atomic uint32_t taken; /* the lock */
    /* under the lock */
    uint64_t generation; /* of the last opening */
    ec_ring *ring;       /* NULL: ended */
    uint32_t open;
    _Atomic uint64_t records, bytes, buffers, too_long, malformed;
    _Atomic int64_t newest;
    uint8_t apart[128]; /* so that two sessions share no cache line */
};

static struct slot slots[EC_ETW_SLOTS];
static _Atomic uint64_t late;

static void lock(struct slot *s) {
    for (uint32_t tries = 0; atomic_exchange_explicit(&s->taken, 1u, memory_order_acquire); tries++)
        if (tries > 100) REST();
}

static void unlock(struct slot *s) { atomic_store_explicit(&s->taken, 0u, memory_order_release); }

static uint64_t context_of(const struct slot *s) { return s->generation << 8 | (uint64_t)(s - slots); }

/* The slot that a context names, locked; NULL where it is another's by now. */
static struct slot *claim(uint64_t context) {
    if ((context & 0xFFu) >= EC_ETW_SLOTS) return NULL;
    struct slot *s = slots + (context & 0xFFu);
    lock(s);
    if (s->open && context_of(s) == context) return s;
    unlock(s);
    return NULL;
}

uint64_t ec_etw_open(ec_ring *ring) {
    for (struct slot *s = slots; s < slots + EC_ETW_SLOTS; s++) {
        lock(s);
        if (!s->open) {
            s->generation = (s->generation + 1u) & (UINTPTR_MAX >> 8);
            if (!s->generation) s->generation = 1;
            s->ring = ring;
            s->open = 1;
            PUT(s->records, 0u);
            PUT(s->bytes, 0u);
            PUT(s->buffers, 0u);
            PUT(s->too_long, 0u);
            PUT(s->malformed, 0u);
            PUT(s->newest, INT64_MIN);
            uint64_t context = context_of(s);
            unlock(s);
            return context;
        }
        unlock(s);
    }
    return 0;
}

static void end(struct slot *s) {
    if (s->ring) ec_ring_close(s->ring);
    s->ring = NULL;
}

void ec_etw_end(uint64_t context) {
    struct slot *s = claim(context);
    if (!s) return;
    end(s);
    unlock(s);
}

void ec_etw_close(uint64_t context) {
    struct slot *s = claim(context);
    if (!s) return;
    end(s);
    s->open = 0;
    unlock(s);
}

int32_t ec_etw_count(uint64_t context, struct ec_etw_counts *counts) {
    struct slot *s = claim(context);
    if (!s) return 0;
    *counts = (struct ec_etw_counts){
        .records = GET(s->records), .bytes = GET(s->bytes), .buffers = GET(s->buffers),
        .too_long = GET(s->too_long), .malformed = GET(s->malformed), .newest = GET(s->newest),
    };
    unlock(s);
    return 1;
}

uint64_t ec_etw_late(void) { return GET(late); }

/* Bytes of the extended items in a file; UINT32_MAX where they cannot be. */
static uint32_t items_size(const struct ec_event_record *event) {
    uint32_t size = 0;
    if (event->items && (!event->extended || event->items > EC_ETW_MOST_ITEMS)) return UINT32_MAX;
    for (uint32_t i = 0; i < event->items; i++) {
        if (event->extended[i].size && !event->extended[i].data) return UINT32_MAX;
        size += ITEM + PADDED(event->extended[i].size);
    }
    return size;
}

static uint8_t *put_items(uint8_t *out, const struct ec_event_record *event) {
    for (uint32_t i = 0; i < event->items; i++) {
        const struct ec_extended_item *item = event->extended + i;
        uint32_t padded = PADDED((uint32_t)item->size);
        ec_put16(out, (uint16_t)(ITEM + padded));
        ec_put16(out + 2, item->type);
        ec_put16(out + 4, i + 1u < event->items);
        ec_put16(out + 6, item->size);
        if (item->size) memcpy(out + ITEM, (const void *)(uintptr_t)item->data, item->size);
        memset(out + ITEM + item->size, 0, padded - item->size);
        out += ITEM + padded;
    }
    return out;
}

static void put_record(uint8_t *out, const struct ec_event_record *event, uint32_t size) {
    uint16_t flags = event->header.flags;
    uint16_t processor = (flags & PROCESSOR_INDEX) ? event->processor : (uint16_t)(event->processor & 0xFFu);
    ec_put16(out, processor);
    ec_put16(out + 2, event->logger);
    ec_put32(out + 4, 0);
    out += EC_ETW_LEAD;
    memcpy(out, &event->header, HEADER);
    ec_put16(out, (uint16_t)size);
    out[2] = (flags & HEADER32) ? EVENT32 : EVENT64;
    out[3] = MARKER;
    ec_put16(out + 4, (uint16_t)(event->items ? flags | EXTENDED : flags & ~EXTENDED));
    out = put_items(out + HEADER, event);
    if (event->length) memcpy(out, event->payload, event->length);
}

static void take(struct slot *s, const struct ec_event_record *event) {
    uint32_t items = items_size(event);
    if (items == UINT32_MAX || (event->length && !event->payload)) {
        ADD(s->malformed, 1u);
        return;
    }
    uint32_t size = HEADER + items + event->length;
    if (size > EC_ETW_LONGEST) {
        ADD(s->too_long, 1u);
        return;
    }
    ADD(s->records, 1u);
    ADD(s->bytes, EC_ETW_LEAD + size);
    if (event->header.time > GET(s->newest)) PUT(s->newest, event->header.time);
    uint8_t *out = ec_ring_reserve(s->ring, EC_ETW_LEAD + size);
    if (!out) return;
    put_record(out, event, size);
    ec_ring_commit(s->ring, EC_ETW_RECORD, event->header.time);
}

void ec_etw_record(struct ec_event_record *event) {
    struct slot *s = claim(event->context);
    if (s && s->ring) {
        take(s, event);
        ec_ring_publish(s->ring, INT64_MIN); /* what was refused is told too, and wakes the reader */
    } else {
        atomic_fetch_add_explicit(&late, 1u, memory_order_relaxed);
    }
    if (s) unlock(s);
}

uint32_t ec_etw_buffer(struct ec_trace_logfile *logfile) {
    if (!logfile->context) return 1; /* nobody's: no reason to end */
    struct slot *s = claim(logfile->context);
    uint32_t on = s && s->ring;
    if (on) {
        ADD(s->buffers, 1u);
    } else {
        atomic_fetch_add_explicit(&late, 1u, memory_order_relaxed);
    }
    if (s) unlock(s);
    return on;
}
