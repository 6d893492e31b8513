#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#endif
#include "pktmon_stream.h"
#include "slots.h"

#if UINTPTR_MAX == UINT64_MAX
_Static_assert(sizeof(struct ec_stream_data) == 32 && offsetof(struct ec_stream_data, packet_length) == 20 &&
               offsetof(struct ec_stream_data, missed_reading) == 28, "PACKETMONITOR_STREAM_DATA_DESCRIPTOR");
#endif

/* A record: 8 bytes (u16 processor, u16 logger, u32 0), EVENT_HEADER, the head of a packet event, the packet. */
enum { LEAD = 8, HEADER = 80, HEAD = 34, LONGEST = 65535 };
enum { EVENT64 = 0x13, MARKER = 0xC0, HEADER64 = 0x40, PROCESSOR_INDEX = 0x200, LEVEL = 4, PAYLOAD_KEYWORD = 0x10 };
enum { FLOW = 160, DROP = 170 };
#define NOBODY 0xFFFFFFFFu
/* Metadata, packed: the first 30 bytes are those of a packet event. */
enum { COMMON = 30, DROP_REASON = 22, PROCESSOR = 30, TIME = 32 };
enum { STARTED, STOPPED, FATAL, PROCESS_INFO };

/* {4d4f80d9-c8bd-4d73-bb5b-19c90402c5ac} */
static const uint8_t provider[16] = {0xD9, 0x80, 0x4F, 0x4D, 0xBD, 0xC8, 0x73, 0x4D,
                                     0xBB, 0x5B, 0x19, 0xC9, 0x04, 0x02, 0xC5, 0xAC};

struct slot {
    struct ec_slot base;
    struct ec_pktmon_counts counts;
    uint8_t apart[EC_SLOT_APART];
};

static struct slot all[EC_PKTMON_SLOTS];
static struct ec_slots slots = {all, sizeof *all, EC_PKTMON_SLOTS, 0};

uint64_t ec_pktmon_open(ec_ring *ring) {
    uint64_t context = 0;
    struct slot *s = (struct slot *)ec_slot_open(&slots, ring, &context);
    if (!s) return 0;
    s->counts = (struct ec_pktmon_counts){.newest = INT64_MIN};
    ec_slot_unlock(&s->base);
    return context;
}

void ec_pktmon_end(uint64_t context) { ec_slot_end(&slots, context, 0); }

void ec_pktmon_close(uint64_t context) { ec_slot_end(&slots, context, 1); }

int32_t ec_pktmon_count(uint64_t context, struct ec_pktmon_counts *counts) {
    struct slot *s = (struct slot *)ec_slot_claim(&slots, context);
    if (!s) return 0;
    *counts = s->counts;
    ec_slot_unlock(&s->base);
    return 1;
}

uint64_t ec_pktmon_late(void) { return atomic_load_explicit(&slots.late, memory_order_relaxed); }

/* Where the metadata and the packet lie; 0 where the offsets lead out of the data or into each other. */
static int32_t sound(const struct ec_stream_data *given) {
    if (!given->data || given->metadata_offset > given->size || given->packet_offset > given->size) return 0;
    uint32_t room = given->size - given->metadata_offset;
    if (given->packet_offset > given->metadata_offset && given->packet_offset - given->metadata_offset < room)
        room = given->packet_offset - given->metadata_offset;
    return room >= EC_PKTMON_METADATA;
}

static void put_header(uint8_t *out, uint32_t size, uint16_t id, int64_t time, uint16_t processor) {
    memset(out, 0, LEAD + HEADER);
    ec_put16(out, processor);
    out += LEAD;
    ec_put16(out, (uint16_t)size);
    out[2] = EVENT64;
    out[3] = MARKER;
    ec_put16(out + 4, HEADER64 | PROCESSOR_INDEX);
    ec_put32(out + 8, NOBODY); /* thread */
    ec_put32(out + 12, NOBODY); /* process */
    ec_put64(out + 16, (uint64_t)time);
    memcpy(out + 24, provider, sizeof provider);
    ec_put16(out + 40, id);
    out[44] = LEVEL;
    ec_put64(out + 48, PAYLOAD_KEYWORD);
}

static void take(struct slot *s, const struct ec_stream_data *given) {
    s->counts.missed += (uint64_t)given->missed_writing + given->missed_reading;
    if (!sound(given)) {
        s->counts.malformed++;
        return;
    }
    const uint8_t *metadata = given->data + given->metadata_offset;
    uint32_t there = given->size - given->packet_offset, original = given->packet_length;
    uint32_t captured = original < there ? original : there;
    if (captured > LONGEST - HEADER - HEAD) captured = LONGEST - HEADER - HEAD;
    if (captured < original || (s->counts.truncation && captured == s->counts.truncation)) s->counts.cut++;
    uint16_t id = ec_u32(metadata + DROP_REASON) ? DROP : FLOW;
    int64_t time = ec_i64(metadata + TIME);
    uint32_t size = HEADER + HEAD + captured;
    s->counts.packets++;
    s->counts.bytes += LEAD + size;
    if (time > s->counts.newest) s->counts.newest = time;
    uint8_t *out = ec_ring_reserve(s->base.ring, LEAD + size);
    if (!out) return;
    put_header(out, size, id, time, ec_u16(metadata + PROCESSOR));
    out += LEAD + HEADER;
    memcpy(out, metadata, COMMON);
    ec_put16(out + COMMON, (uint16_t)(original > UINT16_MAX ? UINT16_MAX : original));
    ec_put16(out + COMMON + 2, (uint16_t)captured);
    if (captured) memcpy(out + HEAD, given->data + given->packet_offset, captured);
    ec_ring_commit(s->base.ring, EC_PKTMON_RECORD, time);
}

void ec_pktmon_data(void *context, const struct ec_stream_data *given) {
    struct slot *s = (struct slot *)ec_slot_claim(&slots, (uint64_t)(uintptr_t)context);
    if (s && s->base.ring && given) {
        take(s, given);
        ec_ring_publish(s->base.ring, INT64_MIN); /* what was refused is told too, and wakes the reader */
    } else {
        ec_slot_count_late(&slots);
    }
    if (s) ec_slot_unlock(&s->base);
}

void ec_pktmon_event(void *context, const uint8_t *info, uint32_t kind) {
    struct slot *s = (struct slot *)ec_slot_claim(&slots, (uint64_t)(uintptr_t)context);
    if (!s) {
        ec_slot_count_late(&slots);
        return;
    }
    struct ec_pktmon_counts *counts = &s->counts;
    if (kind == STARTED) {
        counts->started++;
        if (info) counts->truncation = ec_u16(info + 4);
    } else if (kind == STOPPED) {
        counts->stopped++;
    } else if (kind == FATAL) {
        counts->fatal++;
        if (info) counts->reason = ec_u32(info + 4);
    } else if (kind == PROCESS_INFO) {
        counts->warnings++;
        if (info && !counts->fatal) counts->reason = ec_u32(info + 4);
    }
    ec_slot_unlock(&s->base);
}
