#include "capfile.h"
#include "pcap_find.h"

enum { SHB = 0x0A0D0D0A, PB = 2, SPB = 3, EPB = 6, FRAME = 12, EPB_FIELDS = 20 };
enum { OPT_END = 0, OPT_FLAGS = 2, OPT_DROPCOUNT = 4, OPT_PACKETID = 5, OPT_QUEUE = 6, OPT_VERDICT = 7,
       OPT_PROCESS = 8 };
enum { CUSTOM_COPY_TEXT = 2988, CUSTOM_COPY_BYTES = 2989, CUSTOM_TEXT = 19372, CUSTOM_BYTES = 19373 };

#define NANO INT64_C(1000000000)

static inline uint16_t turn16(uint16_t v) { return (uint16_t)(v << 8 | v >> 8); }
static inline uint32_t turn32(uint32_t v)
{
    return v << 24 | (v & 0xFF00U) << 8 | (v >> 8 & 0xFF00U) | v >> 24;
}
static inline uint16_t get16(const uint8_t *p, int swapped)
{
    const uint16_t v = ec_u16(p);
    return swapped ? turn16(v) : v;
}
static inline uint32_t get32(const uint8_t *p, int swapped)
{
    const uint32_t v = ec_u32(p);
    return swapped ? turn32(v) : v;
}
static inline uint32_t padded(uint32_t length) { return (length + 3) & ~UINT32_C(3); }

/* Turns the bytes of one number around in place. */
static void turn(uint8_t *p, size_t size)
{
    for (size_t i = 0; i < size / 2; i++) {
        const uint8_t held = p[i];
        p[i] = p[size - 1 - i];
        p[size - 1 - i] = held;
    }
}

/* (seconds + offset) * 10^9 + nanos for nanos < 2 * 10^9, saturating. */
static int64_t join(uint64_t seconds, int64_t offset, uint64_t nanos, int32_t *clamped)
{
    if (nanos >= (uint64_t)NANO && offset < INT64_MAX) { /* at INT64_MAX the sum saturates anyhow */
        nanos -= (uint64_t)NANO;
        offset++;
    }
    const uint64_t whole = (uint64_t)(INT64_MAX / NANO), part = (uint64_t)(INT64_MAX % NANO);
    const uint64_t back = offset < 0 ? (uint64_t)-(offset + 1) + 1 : 0;
    if (back <= seconds) {
        const uint64_t forth = offset > 0 ? (uint64_t)offset : 0, rest = seconds - back;
        if (rest <= whole && forth <= whole - rest && (rest + forth < whole || nanos <= part))
            return (int64_t)(rest + forth) * NANO + (int64_t)nanos;
        *clamped = 1;
        return INT64_MAX;
    }
    const uint64_t below = back - seconds; /* below 1970 by that many seconds, less nanos */
    if (below <= whole)
        return (int64_t)nanos - (int64_t)below * NANO;
    if (below == whole + 1 && nanos >= (uint64_t)NANO - part - 1)
        return INT64_MIN + (int64_t)(nanos - ((uint64_t)NANO - part - 1));
    *clamped = 1;
    return INT64_MIN;
}

/* floor(part * 10^9 / 2^bits) for part < 2^bits, bits <= 64. */
static uint64_t binary_nanos(uint64_t part, unsigned bits)
{
    const uint64_t low = (part & 0xFFFFFFFFU) * (uint64_t)NANO;
    const uint64_t high = (part >> 32) * (uint64_t)NANO + (low >> 32); /* the product is high:low32 */
    if (bits >= 32)
        return bits == 64 ? high >> 32 : high >> (bits - 32);
    return (part * (uint64_t)NANO) >> bits; /* part < 2^32: no overflow */
}

int64_t ec_ticks_to_ns(uint64_t ticks, uint8_t resolution, int64_t offset, uint32_t extra, int32_t *clamped)
{
    uint64_t seconds = 0, nanos = 0;
    const unsigned exponent = resolution & 0x7FU;
    *clamped = 0;
    if (extra >= (uint32_t)NANO)
        extra = 0;
    if (resolution & 0x80) {
        if (exponent <= 64) {
            seconds = exponent == 64 ? 0 : ticks >> exponent;
            const uint64_t part = exponent == 64 ? ticks : ticks & ((UINT64_C(1) << exponent) - 1);
            nanos = binary_nanos(part, exponent);
        } else if (exponent < 96) {
            nanos = binary_nanos(ticks, 64) >> (exponent - 64);
        }
        return join(seconds, offset, nanos + extra, clamped);
    }
    uint64_t unit = 1;
    if (exponent <= 9) {
        uint64_t scale = (uint64_t)NANO;
        for (unsigned i = 0; i < exponent; i++) {
            unit *= 10;
            scale /= 10;
        }
        return join(ticks / unit, offset, ticks % unit * scale + extra, clamped);
    }
    for (unsigned i = 9; i < exponent; i++) {
        ticks /= 10;
        if (ticks == 0)
            break;
    }
    return join(ticks / (uint64_t)NANO, offset, ticks % (uint64_t)NANO + extra, clamped);
}

/* Writes time, lateness and lengths of the next row; gives its marks so far. */
static inline uint32_t put_row(struct ec_index *job, int64_t time, size_t offset, uint32_t captured, uint32_t original,
                               uint32_t marks)
{
    const size_t row = job->row;
    if (time < job->latest) {
        marks |= job->late_mark;
        job->late++;
    } else {
        job->latest = time;
    }
    if (original < captured) {
        marks |= job->length_mark;
        original = captured;
    }
    job->time[row] = time;
    job->offset[row] = (int64_t)offset;
    job->captured[row] = captured;
    job->original[row] = original;
    job->flags[row] = marks;
    if (marks)
        job->seen |= EC_SEEN_FLAGS;
    return marks;
}

static inline int32_t pcap_index(struct ec_index *job, int swapped)
{
    const size_t header = job->header;
    const ec_pcap_form form = {(uint32_t)swapped, job->scale, job->header,
                               job->limit < UINT32_MAX ? (uint32_t)job->limit : UINT32_MAX, job->either};
    while (job->row < job->rows) {
        const size_t left = job->size - job->at;
        job->need = header;
        if (left < header)
            return EC_INDEX_MORE;
        const uint8_t *p = job->buffer + job->at;
        const ec_pcap_lengths packet = ec_pcap_lengths_at(&form, p);
        if (packet.captured > job->limit)
            return EC_INDEX_BROKEN;
        job->need = header + packet.captured;
        if (job->need > left)
            return EC_INDEX_MORE;
        if (job->checks != EC_CHECK_NONE && job->at >= job->sure) {
            if (left - job->need >= 16) {
                if (!ec_pcap_regular(&form, p + job->need, get32(p, swapped)))
                    return EC_INDEX_DOUBT;
            } else if (job->checks == EC_CHECK_ALL) {
                job->need += 16;
                return EC_INDEX_MORE;
            }
        }
        const int64_t time = (int64_t)get32(p, swapped) * NANO + (int64_t)get32(p + 4, swapped) * job->scale;
        put_row(job, time, job->at + header, packet.captured, packet.original, 0);
        job->row++;
        job->at += job->need;
    }
    return EC_INDEX_FULL;
}

int32_t ec_pcap_index(struct ec_index *job)
{
    if (job->at > job->size || job->header < 16)
        return EC_INDEX_BROKEN;
    return job->swapped ? pcap_index(job, 1) : pcap_index(job, 0);
}

/* The numbers inside an option's value, from the section's byte order to little-endian. */
static void turn_value(uint16_t code, uint8_t *value, size_t length)
{
    switch (code) {
    case OPT_FLAGS:
    case OPT_QUEUE:
        if (length == 4)
            turn(value, 4);
        break;
    case OPT_DROPCOUNT:
    case OPT_PACKETID:
        if (length == 8)
            turn(value, 8);
        break;
    case OPT_VERDICT: /* TC_ACT_ and XDP_ values are numbers of 8 bytes; a hardware verdict is opaque */
        if (length == 9 && (value[0] == 1 || value[0] == 2))
            turn(value + 1, 8);
        break;
    case OPT_PROCESS:
        if (length == 8) {
            turn(value, 4);
            turn(value + 4, 4);
        }
        break;
    case CUSTOM_COPY_TEXT:
    case CUSTOM_COPY_BYTES:
    case CUSTOM_TEXT:
    case CUSTOM_BYTES:
        if (length >= 4)
            turn(value, 4);
        break;
    default:
        break;
    }
}

/* Takes the options of a packet in buffer[at..end) apart into the columns of the current row. */
static void take_options(struct ec_index *job, size_t at, size_t end, size_t block, int swapped)
{
    const size_t row = job->row, start = at;
    size_t kept = at;
    while (end - at >= 4) {
        uint8_t *p = job->buffer + at;
        const uint16_t code = get16(p, swapped), length = get16(p + 2, swapped);
        const size_t step = 4 + (size_t)padded(length);
        if (code == OPT_END)
            break;
        if (step > end - at) {
            if (job->odd++ == 0)
                job->odd_at = block;
            break;
        }
        at += step;
        if (swapped)
            turn_value(code, p + 4, length);
        if (code == OPT_FLAGS && length == 4) {
            const uint32_t word = ec_u32(p + 4);
            job->direction[row] = (word & 3) == 3 ? 0 : (uint8_t)(word & 3);
            if (job->direction[row])
                job->seen |= EC_SEEN_DIRECTION;
            if ((word & ~UINT32_C(3)) == 0)
                continue;
        } else if (code == OPT_PACKETID && length == 8) {
            job->packet_id[row] = ec_u64(p + 4);
            job->seen |= EC_SEEN_PACKET_ID;
            continue;
        } else if (code == OPT_PROCESS && length == 8) {
            job->process[row] = ec_u32(p + 4);
            job->thread[row] = ec_u32(p + 8);
            job->flags[row] |= job->process_mark;
            job->seen |= EC_SEEN_PROCESS | EC_SEEN_FLAGS;
            continue;
        } else if (code == CUSTOM_TEXT || code == CUSTOM_BYTES) {
            continue; /* not to be copied, says the draft */
        }
        ec_put16(p, code);
        ec_put16(p + 2, length);
        if (kept != at - step)
            memmove(job->buffer + kept, p, step);
        kept += step;
    }
    if (kept > start) {
        job->options_offset[row] = (int64_t)start;
        job->options_length[row] = (uint32_t)(kept - start);
        job->seen |= EC_SEEN_OPTIONS;
    }
}

static inline void clear_row(struct ec_index *job)
{
    const size_t row = job->row;
    job->interface[row] = 0;
    job->direction[row] = 0;
    job->packet_id[row] = 0;
    job->process[row] = job->thread[row] = UINT32_MAX;
    job->options_offset[row] = 0;
    job->options_length[row] = 0;
}

static inline void put_interface(struct ec_index *job, const struct ec_capture_interface *face)
{
    job->interface[job->row] = face->interface;
    if (face->interface)
        job->seen |= EC_SEEN_INTERFACE;
}

static inline int64_t face_time(const struct ec_capture_interface *face, uint64_t ticks, int32_t *clamped)
{
    if (face->resolution == 6 && face->offset == 0 && face->nanos == 0 && ticks <= (uint64_t)INT64_MAX / 1000)
        return (int64_t)ticks * 1000;
    if (face->resolution == 9 && face->offset == 0 && face->nanos == 0 && ticks <= (uint64_t)INT64_MAX)
        return (int64_t)ticks;
    return ec_ticks_to_ns(ticks, face->resolution, face->offset, face->nanos, clamped);
}

/* An Enhanced Packet Block, or the obsolete Packet Block (a 16-bit interface and a count of drops before the rest). */
static inline int take_packet(struct ec_index *job, uint32_t type, uint32_t total, int swapped)
{
    if (total < FRAME + EPB_FIELDS)
        return 0;
    const uint8_t *p = job->buffer + job->at;
    const uint32_t number = type == PB ? get16(p + 8, swapped) : get32(p + 8, swapped);
    const uint32_t captured = get32(p + 20, swapped), room = total - FRAME - EPB_FIELDS;
    if (number >= job->interfaces || captured > room || padded(captured) > room)
        return 0;
    const struct ec_capture_interface *face = job->table + number;
    const uint64_t ticks = (uint64_t)get32(p + 12, swapped) << 32 | get32(p + 16, swapped);
    const size_t data = job->at + FRAME - 4 + EPB_FIELDS;
    int32_t clamped = 0;
    const int64_t time = face_time(face, ticks, &clamped);
    job->clamped += (uint64_t)clamped;
    clear_row(job);
    put_interface(job, face);
    put_row(job, time, data, captured, get32(p + 24, swapped), clamped ? job->clamped_mark : 0);
    if (room > padded(captured))
        take_options(job, data + padded(captured), job->at + total - 4, job->at, swapped);
    return 1;
}

/* A Simple Packet Block: the section's first interface, no time of its own. */
static inline int take_simple(struct ec_index *job, uint32_t total, int swapped)
{
    if (total < FRAME + 4 || job->interfaces == 0)
        return 0;
    const struct ec_capture_interface *face = job->table;
    const uint32_t original = get32(job->buffer + job->at + 8, swapped), room = total - FRAME - 4;
    uint32_t captured = original;
    if (face->snap && captured > face->snap)
        captured = face->snap;
    if (captured > room)
        captured = room;
    if (job->latest == INT64_MIN)
        job->latest = 0;
    job->untimed++;
    clear_row(job);
    put_interface(job, face);
    put_row(job, job->latest, job->at + FRAME, captured, original, 0);
    return 1;
}

static inline int32_t pcapng_index(struct ec_index *job, int swapped)
{
    while (job->row < job->rows) {
        const size_t left = job->size - job->at;
        job->need = FRAME;
        if (left < FRAME)
            return EC_INDEX_MORE;
        const uint8_t *p = job->buffer + job->at;
        const uint32_t type = get32(p, swapped), total = get32(p + 4, swapped);
        if (type == SHB)
            return EC_INDEX_BLOCK;
        if (total < FRAME || total % 4 || total > job->limit)
            return EC_INDEX_BROKEN;
        job->need = total;
        if (total > left)
            return EC_INDEX_MORE;
        if (get32(p + total - 4, swapped) != total)
            return EC_INDEX_BROKEN;
        if (type == EPB || type == PB) {
            if (!take_packet(job, type, total, swapped))
                return EC_INDEX_MISFIT;
        } else if (type == SPB) {
            if (!take_simple(job, total, swapped))
                return EC_INDEX_MISFIT;
        } else {
            return EC_INDEX_BLOCK;
        }
        job->row++;
        job->at += total;
    }
    return EC_INDEX_FULL;
}

int32_t ec_pcapng_index(struct ec_index *job)
{
    if (job->at > job->size)
        return EC_INDEX_BROKEN;
    return job->swapped ? pcapng_index(job, 1) : pcapng_index(job, 0);
}

static int known_type(uint32_t type)
{
    return (type >= 1 && type <= 6) || type == 9 || type == 10 || type == 0xBAD || type == 0x40000BAD || type == SHB;
}

static int plausible(const uint8_t *p, size_t limit, int swapped)
{
    const uint32_t type = get32(p, swapped), total = get32(p + 4, swapped);
    return known_type(type) && total >= FRAME && total % 4 == 0 && (total <= limit || type == SHB);
}

size_t ec_pcapng_find(const uint8_t *buffer, size_t size, size_t from, size_t until, size_t limit, uint32_t swapped,
                      uint32_t ends)
{
    const int turned = swapped != 0;
    for (size_t at = from; at < until && at < size && size - at >= FRAME; at++) {
        const uint8_t *p = buffer + at;
        if (!plausible(p, limit, turned))
            continue;
        const uint32_t type = get32(p, turned);
        const int other = type == SHB && get32(p + 8, turned) == 0x4D3C2B1A ? !turned : turned;
        const uint32_t total = get32(p + 4, other);
        if (type == SHB && get32(p + 8, other) != 0x1A2B3C4D)
            continue;
        if (total < FRAME || total % 4 || total > limit || total > size - at || get32(p + total - 4, other) != total)
            continue;
        const size_t next = at + total;
        if (size - next >= 8 ? plausible(buffer + next, limit, other) : ends && next == size)
            return at;
    }
    return size;
}
