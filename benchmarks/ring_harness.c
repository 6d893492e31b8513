/* A stand-in for a receiver: a thread that puts numbered records into a ring at a given rate, or as fast as it can.
 *
 * As a shared library (benchmarks/ring_feed.py) it feeds the ring that Python reads. With -DSTANDALONE and ring.c it is a
 * program that has both sides, for a run under ThreadSanitizer: records of many lengths, each byte of them checked. */
#define _POSIX_C_SOURCE 200809L
#include "ring.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef int32_t put_function(ec_ring *, uint16_t, int64_t, const uint8_t *, uint64_t);
typedef void publish_function(ec_ring *, int64_t);
typedef void close_function(ec_ring *);

struct feed { /* as in ring_feed.py */
    ec_ring *ring;
    put_function *put;
    publish_function *publish;
    close_function *close;
    const uint8_t *record; /* what each record looks like, but for its number */
    uint64_t length;
    uint64_t number_at; /* where its number stands, u64 */
    uint64_t count;
    uint64_t rate;     /* records a second; 0: as fast as it goes */
    uint32_t batch;    /* records between publications */
    uint32_t lengths;  /* not 0: lengths go from that to length, in turn */
    uint64_t produced, produced_bytes; /* out */
    uint64_t late;     /* out: ns that the producer was behind its rate at most */
    pthread_t thread;
};

static int64_t now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void *run(void *given) {
    struct feed *f = given;
    uint8_t *record = malloc(f->length ? f->length : 1);
    memcpy(record, f->record, f->length);
    int64_t start = now(CLOCK_MONOTONIC), stamp = now(CLOCK_REALTIME);
    uint64_t length = f->lengths ? f->lengths : f->length;
    for (uint64_t i = 0; i < f->count;) {
        if (f->rate) {
            int64_t due = start + (int64_t)(i * 1000000000u / f->rate), behind = now(CLOCK_MONOTONIC) - due;
            if (behind < 0) {
                struct timespec nap = {.tv_nsec = -behind < 1000000 ? (long)-behind : 1000000};
                f->publish(f->ring, stamp = now(CLOCK_REALTIME));
                nanosleep(&nap, NULL);
                continue;
            }
            if ((uint64_t)behind > f->late) f->late = (uint64_t)behind;
        }
        int64_t t = now(CLOCK_REALTIME);
        if (t > stamp) stamp = t;
        for (uint32_t b = 0; b < f->batch && i < f->count; b++, i++) {
            memcpy(record + f->number_at, &i, sizeof i);
            f->put(f->ring, 1, stamp, record, length);
            f->produced++;
            f->produced_bytes += length;
            if (f->lengths && ++length > f->length) length = f->lengths;
        }
        f->publish(f->ring, stamp);
    }
    f->close(f->ring);
    free(record);
    return NULL;
}

EC_API int feed_start(struct feed *f);
EC_API int feed_join(struct feed *f);
EC_API size_t feed_size(void);

int feed_start(struct feed *f) {
    if (f->number_at + 8 > (f->lengths ? f->lengths : f->length) || !f->batch) return -1;
    return pthread_create(&f->thread, NULL, run, f);
}

int feed_join(struct feed *f) { return pthread_join(f->thread, NULL); }

size_t feed_size(void) { return sizeof(struct feed); }

#if defined(STANDALONE)

/* usage: ring_harness COUNT RING_BYTES ROOM SLOW: SLOW is how many ns the reader sleeps after each drain */
int main(int count, char **words) {
    if (count != 5) return 2;
    enum { LONGEST = 700, ROWS = 256 };
    static uint8_t record[LONGEST];
    for (size_t i = 0; i < LONGEST; i++) record[i] = (uint8_t)(i * 31u + 7u);
    struct feed f = {
        .put = ec_ring_put, .publish = ec_ring_publish, .close = ec_ring_close, .record = record, .length = LONGEST,
        .count = strtoull(words[1], NULL, 10), .batch = 7, .lengths = 8,
    };
    f.ring = ec_ring_create(strtoull(words[2], NULL, 10));
    uint64_t room = strtoull(words[3], NULL, 10), seen = 0, bytes = 0, next = 0;
    long slow = strtol(words[4], NULL, 10);
    uint8_t *out = malloc(room);
    static int64_t time[ROWS], offset[ROWS];
    static uint32_t length[ROWS];
    static uint16_t kind[ROWS];
    struct ec_ring_columns columns = {time, offset, length, kind};
    struct ec_ring_drained d = {0};
    int64_t promised = INT64_MIN;
    if (!f.ring || !out || feed_start(&f)) return 3;
    while (!d.ended) {
        ec_ring_wait(f.ring, 1024, 50);
        if (ec_ring_drain(f.ring, out, room, ROWS, &columns, &d)) return 4;
        for (uint64_t i = 0; i < d.rows; i++) {
            uint64_t number = ec_u64(out + offset[i]), wanted = 8 + number % (LONGEST - 7);
            if (number < next || length[i] != wanted || kind[i] != 1 || time[i] < promised) return 5;
            if (memcmp(out + offset[i] + 8, record + 8, length[i] - 8)) return 6;
            next = number + 1;
            bytes += length[i];
        }
        seen += d.rows;
        promised = d.complete_to;
        if (slow) nanosleep(&(struct timespec){.tv_nsec = slow}, NULL);
    }
    feed_join(&f);
    struct ec_ring_counts c;
    ec_ring_count(f.ring, &c);
    printf("produced %llu delivered %llu refused %llu wakes %llu\n", (unsigned long long)f.produced,
           (unsigned long long)seen, (unsigned long long)c.refused, (unsigned long long)c.wakes);
    int exact = f.produced == seen + c.refused && f.produced_bytes == bytes + c.refused_bytes &&
                c.delivered == seen && c.taken == seen && c.delivered_bytes == bytes;
    ec_ring_destroy(f.ring);
    free(out);
    return exact ? 0 : 7;
}

#endif
