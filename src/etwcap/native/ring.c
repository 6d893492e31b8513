#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#endif
#include "ring.h"

#include <stdatomic.h>
#include <stdlib.h>

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>
#endif

#define LINE 128 /* bytes between what two threads write, so that they do not share a cache line or its neighbour */
#define NEVER UINT64_MAX

struct ec_ring {
    uint8_t *memory;
    uint64_t size;
#if defined(_WIN32)
    HANDLE event;
#else
    int wake[2]; /* a pipe: read, write */
#endif
    uint8_t apart0[LINE];
    /* written by the producer */
    uint64_t write;     /* behind the last committed slot */
    uint64_t head_seen; /* head when last looked at */
    uint64_t reserved;  /* slot bytes of the open reservation, 0: none */
    uint32_t reserved_length;
    uint32_t full; /* a record was refused since the last publication: the reader is wanted at any fill */
    uint64_t records, bytes; /* committed */
    int64_t promised;
    _Atomic uint64_t tail;
    _Atomic int64_t complete_to;
    _Atomic uint32_t closed;
    _Atomic uint64_t taken, taken_bytes, refused, refused_bytes, wakes;
    uint8_t apart1[LINE];
    /* written by the reader */
    _Atomic uint64_t head;
    _Atomic uint64_t delivered, delivered_bytes;
    uint64_t mark; /* once head is here, marked may be said; NEVER: no mark */
    int64_t marked;
    int64_t said;
    uint8_t apart2[LINE];
    /* written by both, seldom: the tail at which the reader wants to be woken */
    _Atomic uint64_t wake_at;
};

#define GET(x) atomic_load_explicit(&(x), memory_order_relaxed)
#define PUT(x, v) atomic_store_explicit(&(x), (v), memory_order_relaxed)
#define ADD(x, v) PUT(x, GET(x) + (v)) /* where one thread alone writes x */

#if defined(_WIN32)

static int bell_make(ec_ring *ring) {
    ring->event = CreateEventW(NULL, FALSE, FALSE, NULL);
    return ring->event != NULL;
}

static void bell_free(ec_ring *ring) { CloseHandle(ring->event); }

static void bell_ring(ec_ring *ring) { SetEvent(ring->event); }

static void bell_wait(ec_ring *ring, uint32_t milliseconds) { WaitForSingleObject(ring->event, milliseconds); }

#else

static int bell_make(ec_ring *ring) {
    if (pipe(ring->wake) != 0) return 0;
    for (int i = 0; i < 2; i++) {
        fcntl(ring->wake[i], F_SETFD, FD_CLOEXEC);
        fcntl(ring->wake[i], F_SETFL, O_NONBLOCK);
    }
    return 1;
}

static void bell_free(ec_ring *ring) {
    close(ring->wake[0]);
    close(ring->wake[1]);
}

static void bell_ring(ec_ring *ring) {
    /* a full pipe wakes the reader just as well */
    ssize_t written = write(ring->wake[1], "", 1);
    (void)written;
}

static void bell_wait(ec_ring *ring, uint32_t milliseconds) {
    struct pollfd ready = {.fd = ring->wake[0], .events = POLLIN};
    int limit = milliseconds > 1000000u ? 1000000 : (int)milliseconds;
    if (poll(&ready, 1, limit) > 0) {
        char bytes[64];
        while (read(ring->wake[0], bytes, sizeof bytes) == (ssize_t)sizeof bytes) {}
    }
}

#endif

ec_ring *ec_ring_create(uint64_t size) {
    if (size < EC_RING_SMALLEST || size > EC_RING_LARGEST || (size & (size - 1)) || size > SIZE_MAX) return NULL;
    ec_ring *ring = calloc(1, sizeof *ring);
    if (!ring) return NULL;
    ring->memory = calloc(1, (size_t)size);
    if (!ring->memory || !bell_make(ring)) {
        free(ring->memory);
        free(ring);
        return NULL;
    }
    ring->size = size;
    ring->promised = ring->marked = ring->said = INT64_MIN;
    ring->mark = NEVER;
    PUT(ring->complete_to, INT64_MIN);
    PUT(ring->wake_at, NEVER);
    return ring;
}

void ec_ring_destroy(ec_ring *ring) {
    if (!ring) return;
    bell_free(ring);
    free(ring->memory);
    free(ring);
}

/* A slot of half the ring fits into an empty ring wherever its head stands, with the wrap before it. */
uint32_t ec_ring_longest(const ec_ring *ring) { return (uint32_t)(ring->size / 2 - EC_RING_SLOT); }

static void put_slot(uint8_t *slot, uint32_t length, uint16_t kind, int64_t time) {
    ec_put32(slot, length);
    ec_put16(slot + 4, kind);
    ec_put16(slot + 6, 0);
    ec_put64(slot + 8, (uint64_t)time);
}

static uint8_t *refuse(ec_ring *ring, uint64_t length) {
    ADD(ring->refused, 1u);
    ADD(ring->refused_bytes, length);
    return NULL;
}

uint8_t *ec_ring_reserve(ec_ring *ring, uint64_t length) {
    if (length > ec_ring_longest(ring)) return refuse(ring, length);
    uint64_t need = EC_RING_SLOT + ((length + 15u) & ~(uint64_t)15u);
    uint64_t at = ring->write & (ring->size - 1), rest = ring->size - at;
    uint64_t skipped = rest < need ? rest : 0;
    if (ring->write - ring->head_seen > ring->size - skipped - need) {
        ring->head_seen = atomic_load_explicit(&ring->head, memory_order_acquire);
        if (ring->write - ring->head_seen > ring->size - skipped - need) {
            ring->full = 1;
            return refuse(ring, length);
        }
    }
    if (skipped) {
        put_slot(ring->memory + at, (uint32_t)(rest - EC_RING_SLOT), 0, 0);
        ring->write += skipped;
        at = 0;
    }
    ring->reserved = need;
    ring->reserved_length = (uint32_t)length;
    return ring->memory + at + EC_RING_SLOT;
}

void ec_ring_commit(ec_ring *ring, uint16_t kind, int64_t time) {
    if (!ring->reserved || !kind) return;
    put_slot(ring->memory + (ring->write & (ring->size - 1)), ring->reserved_length, kind, time);
    ring->write += ring->reserved;
    ring->reserved = 0;
    ring->records++;
    ring->bytes += ring->reserved_length;
}

int32_t ec_ring_put(ec_ring *ring, uint16_t kind, int64_t time, const uint8_t *record, uint64_t length) {
    if (!kind) return 0;
    uint8_t *room = ec_ring_reserve(ring, length);
    if (!room) return 0;
    if (length) memcpy(room, record, (size_t)length);
    ec_ring_commit(ring, kind, time);
    return 1;
}

/* The reader looks at complete_to before the tail: so the tail is written first. Tail and wake_at are sequentially
 * consistent on both sides: either the producer sees the mark, or the reader sees the tail and does not sleep. */
void ec_ring_publish(ec_ring *ring, int64_t complete_to) {
    PUT(ring->taken, ring->records);
    PUT(ring->taken_bytes, ring->bytes);
    atomic_store(&ring->tail, ring->write);
    if (complete_to > ring->promised) {
        ring->promised = complete_to;
        atomic_store_explicit(&ring->complete_to, complete_to, memory_order_release);
    }
    uint64_t wanted = atomic_load(&ring->wake_at);
    if ((ring->write >= wanted || ring->full) && wanted != NEVER && atomic_exchange(&ring->wake_at, NEVER) != NEVER) {
        ring->full = 0;
        ADD(ring->wakes, 1u);
        bell_ring(ring);
    }
}

void ec_ring_close(ec_ring *ring) {
    ec_ring_publish(ring, INT64_MIN);
    atomic_store(&ring->closed, 1u);
    bell_ring(ring);
}

int32_t ec_ring_wait(ec_ring *ring, uint64_t fill, uint32_t milliseconds) {
    uint64_t head = GET(ring->head);
    if (fill == 0) fill = 1;
    if (fill > ring->size / 2) fill = ring->size / 2; /* more might never be there: the wrap leaves a gap */
    atomic_store(&ring->wake_at, head + fill);
    int32_t ready = atomic_load(&ring->tail) - head >= fill || atomic_load(&ring->closed);
    if (!ready && milliseconds) {
        bell_wait(ring, milliseconds);
        ready = atomic_load(&ring->tail) - head >= fill || atomic_load(&ring->closed);
    }
    atomic_store(&ring->wake_at, NEVER);
    return ready;
}

/* The slot at head: 1 a record, 0 the wrap (next is behind it), -1 no slot. */
static int slot_at(const ec_ring *ring, uint64_t head, uint64_t tail, const uint8_t **slot, uint64_t *next) {
    uint64_t at = head & (ring->size - 1), rest = ring->size - at;
    *slot = ring->memory + at;
    uint64_t length = ec_u32(*slot), taken = EC_RING_SLOT + ((length + 15u) & ~(uint64_t)15u);
    int record = ec_u16(*slot + 4) != 0;
    if ((head & 15u) || taken > tail - head || taken > rest || (!record && taken != rest)) return -1;
    *next = head + taken;
    return record;
}

int32_t ec_ring_drain(ec_ring *ring, uint8_t *out, uint64_t room, uint64_t rows, const struct ec_ring_columns *columns,
                      struct ec_ring_drained *drained) {
    uint32_t closed = atomic_load(&ring->closed);
    int64_t complete_to = atomic_load_explicit(&ring->complete_to, memory_order_acquire);
    uint64_t tail = atomic_load(&ring->tail);
    uint64_t head = GET(ring->head), row = 0, used = 0;
    if (ring->mark == NEVER) {
        ring->mark = tail;
        ring->marked = complete_to;
    }
    int32_t result = 0;
    while (head != tail && row < rows) {
        const uint8_t *slot;
        uint64_t next;
        int found = slot_at(ring, head, tail, &slot, &next);
        if (found < 0) {
            result = -2;
            break;
        }
        if (found) {
            uint32_t length = ec_u32(slot);
            if (length > room - used) {
                if (row == 0) result = -1;
                break;
            }
            memcpy(out + used, slot + EC_RING_SLOT, length);
            columns->time[row] = ec_i64(slot + 8);
            columns->offset[row] = (int64_t)used;
            columns->length[row] = length;
            columns->kind[row] = ec_u16(slot + 4);
            row++;
            used += length;
        }
        head = next;
    }
    atomic_store_explicit(&ring->head, head, memory_order_release);
    ADD(ring->delivered, row);
    ADD(ring->delivered_bytes, used);
    if (head >= ring->mark) {
        if (ring->marked > ring->said) ring->said = ring->marked;
        ring->mark = NEVER;
    }
    drained->rows = row;
    drained->bytes = used;
    drained->complete_to = ring->said;
    drained->more = head != tail;
    drained->ended = closed && head == tail;
    return result;
}

void ec_ring_count(ec_ring *ring, struct ec_ring_counts *counts) {
    *counts = (struct ec_ring_counts){
        .taken = GET(ring->taken), .taken_bytes = GET(ring->taken_bytes),
        .refused = GET(ring->refused), .refused_bytes = GET(ring->refused_bytes),
        .delivered = GET(ring->delivered), .delivered_bytes = GET(ring->delivered_bytes),
        .wakes = GET(ring->wakes),
    };
}
