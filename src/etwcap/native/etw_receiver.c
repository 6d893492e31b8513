#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#endif
#include "etw_receiver.h"
#include "slots.h"

/* Flags of EVENT_HEADER (evntcons.h), record types and marker of a file. */
enum { EXTENDED = 0x1, HEADER32 = 0x20, PROCESSOR_INDEX = 0x200 };
enum { EVENT32 = 0x12, EVENT64 = 0x13, MARKER = 0xC0 };

#define HEADER ((uint32_t)sizeof(struct ec_event_header))
#define ITEM 8u /* the head of an extended item in a file: u16 stride, type, 1: another follows, size */
#define PADDED(n) (((n) + 7u) & ~7u)

struct slot {
    struct ec_slot base;
    struct ec_etw_counts counts;
    uint8_t apart[EC_SLOT_APART];
};

static struct slot all[EC_ETW_SLOTS];
static struct ec_slots slots = {all, sizeof *all, EC_ETW_SLOTS, 0};

uint64_t ec_etw_open(ec_ring *ring) {
    uint64_t context = 0;
    struct slot *s = (struct slot *)ec_slot_open(&slots, ring, &context);
    if (!s) return 0;
    s->counts = (struct ec_etw_counts){.newest = INT64_MIN};
    ec_slot_unlock(&s->base);
    return context;
}

void ec_etw_end(uint64_t context) { ec_slot_end(&slots, context, 0); }

void ec_etw_close(uint64_t context) { ec_slot_end(&slots, context, 1); }

int32_t ec_etw_count(uint64_t context, struct ec_etw_counts *counts) {
    struct slot *s = (struct slot *)ec_slot_claim(&slots, context);
    if (!s) return 0;
    *counts = s->counts;
    ec_slot_unlock(&s->base);
    return 1;
}

uint64_t ec_etw_late(void) { return atomic_load_explicit(&slots.late, memory_order_relaxed); }

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
    struct ec_etw_counts *counts = &s->counts;
    uint32_t items = items_size(event);
    if (items == UINT32_MAX || (event->length && !event->payload)) {
        counts->malformed++;
        return;
    }
    uint32_t size = HEADER + items + event->length;
    if (size > EC_ETW_LONGEST) {
        counts->too_long++;
        return;
    }
    counts->records++;
    counts->bytes += EC_ETW_LEAD + size;
    if (event->header.time > counts->newest) counts->newest = event->header.time;
    uint8_t *out = ec_ring_reserve(s->base.ring, EC_ETW_LEAD + size);
    if (!out) return;
    put_record(out, event, size);
    ec_ring_commit(s->base.ring, EC_ETW_RECORD, event->header.time);
}

void ec_etw_record(struct ec_event_record *event) {
    struct slot *s = (struct slot *)ec_slot_claim(&slots, event->context);
    if (s && s->base.ring) {
        take(s, event);
        ec_ring_publish(s->base.ring, INT64_MIN); /* what was refused is told too, and wakes the reader */
    } else {
        ec_slot_count_late(&slots);
    }
    if (s) ec_slot_unlock(&s->base);
}

uint32_t ec_etw_buffer(struct ec_trace_logfile *logfile) {
    if (!logfile->context) return 1; /* nobody's: no reason to end */
    struct slot *s = (struct slot *)ec_slot_claim(&slots, logfile->context);
    uint32_t on = s && s->base.ring;
    if (on) {
        s->counts.buffers++;
    } else {
        ec_slot_count_late(&slots);
    }
    if (s) ec_slot_unlock(&s->base);
    return on;
}
