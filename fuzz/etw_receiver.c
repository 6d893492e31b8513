/* The callbacks of trace sessions: whatever an event says of itself, what comes out of the ring is a record of a file with the same
 * bytes, or is counted; a call for a slot that has ended does nothing. One thread plays all sides. */
#include "etl.h"
#include "etw_receiver.h"

#include "input.h"

#define ITEMS 8

static void check_record(const uint8_t *row, uint32_t length, const struct ec_event_record *event)
{
    const uint8_t *record = row + EC_ETW_LEAD;
    const uint32_t size = length - EC_ETW_LEAD;
    ec_record parsed;
    const uint8_t *guid;
    uint32_t stride, at = 80;
    uint8_t *exact = fuzz_copy(record, size);
    MUST(ec_etl_parse(exact, size, size, 0, &parsed, &guid, &stride) == EC_PARSE_OK);
    MUST(parsed.size == size && parsed.raw == event->header.time && parsed.id == event->header.id);
    MUST(parsed.size - parsed.payload == event->length && guid == exact + 24);
    MUST(memcmp(guid, event->header.provider, 16) == 0 && parsed.keyword == event->header.keyword);
    for (uint32_t i = 0; i < event->items; i++) {
        const struct ec_extended_item *item = event->extended + i;
        MUST(ec_u16(exact + at + 2) == item->type && ec_u16(exact + at + 6) == item->size);
        MUST(item->size == 0 || memcmp(exact + at + 8, (const void *)(uintptr_t)item->data, item->size) == 0);
        at += ec_u16(exact + at);
    }
    MUST(at == parsed.payload && (event->length == 0 || memcmp(exact + at, event->payload, event->length) == 0));
    MUST(ec_u16(row + 2) == event->logger && ec_u32(row + 4) == 0);
    MUST(ec_u16(row) == event->processor || (!(event->header.flags & 0x200) && ec_u16(row) < 256));
    free(exact);
}

static void call(fuzz_input *in, ec_ring *ring, uint64_t context, int ended)
{
    struct ec_event_record event = {.context = (uintptr_t)context, .logger = 3};
    struct ec_extended_item items[ITEMS];
    uint8_t *data[ITEMS] = {NULL}, *payload, *header = (uint8_t *)&event.header;
    for (size_t i = 0; i < sizeof event.header; i++) header[i] = (uint8_t)fuzz_number(in, 1);
    event.processor = (uint16_t)fuzz_number(in, 2);
    event.items = (uint16_t)fuzz_below(in, ITEMS + 1);
    for (uint32_t i = 0; i < event.items; i++) {
        items[i] = (struct ec_extended_item){.type = (uint16_t)fuzz_number(in, 2), .linkage = (uint16_t)fuzz_number(in, 2)};
        items[i].size = (uint16_t)fuzz_number(in, fuzz_below(in, 8) ? 1 : 2);
        data[i] = fuzz_room(items[i].size);
        memset(data[i], (int)(i + 1), items[i].size);
        items[i].data = fuzz_below(in, 16) ? (uint64_t)(uintptr_t)data[i] : 0;
    }
    struct ec_extended_item *exact = (struct ec_extended_item *)fuzz_copy((uint8_t *)items, event.items * sizeof *items);
    const size_t odd = fuzz_below(in, 32);
    event.extended = odd == 0 ? NULL : exact;
    event.length = (uint16_t)fuzz_number(in, fuzz_below(in, 4) ? 1 : 2);
    payload = fuzz_room(event.length);
    memset(payload, 0x5A, event.length);
    event.payload = odd == 1 ? NULL : payload;
    if (odd == 2 && !event.items) event.items = (uint16_t)(EC_ETW_MOST_ITEMS + 1 + fuzz_number(in, 1)); /* and none is there */
    int bad = event.length && !event.payload;
    uint32_t size = 80u + event.length;
    bad |= event.items && (!event.extended || event.items > EC_ETW_MOST_ITEMS);
    for (uint32_t i = 0; !bad && i < event.items; i++) {
        bad |= items[i].size && !items[i].data;
        size += 8u + ((items[i].size + 7u) & ~7u);
    }
    struct ec_etw_counts before = {0}, after = {0};
    struct ec_ring_counts ring_before, ring_after;
    const int32_t open = ec_etw_count(context, &before);
    const uint64_t late = ec_etw_late();
    ec_ring_count(ring, &ring_before);
    ec_etw_record(&event);
    ec_ring_count(ring, &ring_after);
    MUST(ec_etw_count(context, &after) == open);
    MUST((ec_etw_late() - late == 1) == ended && (!open || ended || after.records + after.malformed + after.too_long ==
                                                                  before.records + before.malformed + before.too_long + 1));
    if (open && !ended) MUST((after.malformed > before.malformed) == bad);
    if (open && !ended && !bad) MUST((after.too_long > before.too_long) == (size > EC_ETW_LONGEST));
    const uint64_t took = ring_after.taken - ring_before.taken;
    MUST(!ended || (took == 0 && ring_after.refused == ring_before.refused));
    if (took) {
        uint8_t *out = fuzz_room(EC_ETW_LEAD + EC_ETW_LONGEST);
        int64_t time, offset;
        uint32_t length;
        uint16_t kind;
        const struct ec_ring_columns columns = {&time, &offset, &length, &kind};
        struct ec_ring_drained drained;
        MUST(ec_ring_drain(ring, out, EC_ETW_LEAD + EC_ETW_LONGEST, 1, &columns, &drained) == 0 && drained.rows == 1);
        MUST(kind == EC_ETW_RECORD && time == event.header.time && length == EC_ETW_LEAD + size);
        check_record(out + offset, length, &event);
        free(out);
    }
    for (uint32_t i = 0; i < ITEMS; i++) free(data[i]);
    free(exact), free(payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, data + size};
    ec_ring *ring = ec_ring_create(EC_RING_SMALLEST << (6 * fuzz_below(&in, 2)));
    MUST(ring != NULL);
    const uint64_t context = ec_etw_open(ring);
    MUST(context != 0);
    int ended = 0, closed = 0;
    for (size_t calls = 0; calls < 64 && in.at < in.end; calls++) {
        const size_t what = fuzz_below(&in, 32);
        if (what == 0) {
            ec_etw_end(context);
            ended = 1;
        } else if (what == 1) {
            ec_etw_close(context);
            ended = closed = 1;
        } else if (what < 6) {
            struct ec_trace_logfile logfile = {.context = (uintptr_t)context};
            MUST(ec_etw_buffer(&logfile) == (uint32_t)!ended);
        } else {
            const int stray = what == 6; /* a context that nobody has */
            call(&in, ring, stray ? context ^ (1u << (8 + fuzz_below(&in, 24))) : context, ended || stray);
        }
    }
    struct ec_etw_counts counts;
    MUST(ec_etw_count(context, &counts) == !closed);
    ec_etw_close(context);
    ec_etw_close(context);
    ec_ring_destroy(ring);
    return 0;
}
