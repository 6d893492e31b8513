/* A stand-in for ProcessTrace: a thread that writes events into buffers, one set for each processor, as a driver does, and hands
 * whole buffers to the callbacks of a receiver, at a given rate or as fast as it can.
 *
 * Events are copies of one, each with its number in the payload and its own stamp (ns since 1970). Buffers that a flush
 * finds begun are handed out too. */
#define _POSIX_C_SOURCE 200809L
#include "etw_receiver.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

typedef void record_function(struct ec_event_record *);
typedef uint32_t buffer_function(struct ec_trace_logfile *);

#define MOST_PROCESSORS 64u

struct play { /* as in receiver_feed.py */
    record_function *record;
    buffer_function *buffer;
    const uint8_t *event; /* an EVENT_HEADER, then the payload */
    uint64_t context;
    uint64_t length;    /* of the payload */
    uint64_t number_at; /* in the payload, u64 */
    uint64_t count, rate;
    uint32_t processors, in_buffer; /* events that fill a buffer */
    uint64_t produced, late;        /* out; late: ns behind the rate at most */
    _Atomic uint32_t flush, stop, written; /* buffers handed out, as BuffersWritten */
};

struct waiting {
    uint32_t count;
    int64_t *stamp;
    uint64_t *number;
};

static int64_t now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint32_t hand_out(struct play *p, struct waiting *w, uint32_t processor, struct ec_event_record *event,
                         uint8_t *payload) {
    if (!w->count) return 1;
    atomic_fetch_add(&p->written, 1u);
    for (uint32_t i = 0; i < w->count; i++) {
        event->header.time = w->stamp[i];
        event->processor = (uint16_t)processor;
        memcpy(payload + p->number_at, w->number + i, 8);
        p->record(event);
    }
    w->count = 0;
    struct ec_trace_logfile logfile = {.context = (uintptr_t)p->context};
    return p->buffer(&logfile);
}

EC_API int play(struct play *p);
EC_API size_t play_size(void);

/* Blocks until all events are out or it is told to stop. 1223 where the receiver no longer wants any. */
int play(struct play *p) {
    if (p->processors == 0 || p->processors > MOST_PROCESSORS || p->number_at + 8 > p->length) return 87;
    struct waiting all[MOST_PROCESSORS] = {{0}};
    for (uint32_t i = 0; i < p->processors; i++) {
        all[i].stamp = malloc(8u * p->in_buffer);
        all[i].number = malloc(8u * p->in_buffer);
    }
    uint8_t *payload = malloc(p->length);
    memcpy(payload, p->event + sizeof(struct ec_event_header), p->length);
    struct ec_event_record event = {.length = (uint16_t)p->length, .payload = payload, .context = (uintptr_t)p->context};
    memcpy(&event.header, p->event, sizeof event.header);
    int64_t start = now(CLOCK_MONOTONIC), stamp = 0;
    uint32_t on = 1;
    for (uint64_t i = 0; i < p->count && on && !atomic_load(&p->stop); ) {
        if (atomic_exchange(&p->flush, 0u))
            for (uint32_t n = p->processors; n-- && on;) on = hand_out(p, all + n, n, &event, payload);
        if (p->rate) {
            int64_t due = start + (int64_t)(i * 1000000000u / p->rate), behind = now(CLOCK_MONOTONIC) - due;
            if (behind < 0) {
                struct timespec nap = {.tv_nsec = -behind < 500000 ? (long)-behind : 500000};
                nanosleep(&nap, NULL);
                continue;
            }
            if ((uint64_t)behind > p->late) p->late = (uint64_t)behind;
        }
        int64_t t = now(CLOCK_REALTIME);
        if (t > stamp) stamp = t;
        for (uint32_t b = 0; b < 32 && i < p->count && on; b++, i++) {
            uint32_t n = (uint32_t)(i / 16u % p->processors);
            struct waiting *w = all + n;
            w->stamp[w->count] = stamp + b;
            w->number[w->count] = i;
            p->produced++;
            if (++w->count == p->in_buffer) on = hand_out(p, w, n, &event, payload);
        }
        stamp += 32;
    }
    while (!atomic_load(&p->stop) && on) { /* the session goes on without events */
        if (atomic_exchange(&p->flush, 0u))
            for (uint32_t n = p->processors; n-- && on;) on = hand_out(p, all + n, n, &event, payload);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    for (uint32_t n = 0; n < p->processors; n++) {
        if (on) on = hand_out(p, all + n, n, &event, payload);
        free(all[n].stamp);
        free(all[n].number);
    }
    free(payload);
    return on ? 0 : 1223;
}

size_t play_size(void) { return sizeof(struct play); }
