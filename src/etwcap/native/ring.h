/* A bounded ring of variable-length records between one producer thread and one reader thread.
 *
 * The producer never waits: what does not fit is counted and left out. Head and tail are byte counts that only grow;
 * each has one writer, so there is no compare-and-swap and nothing is ever retried. A slot is
 *
 *     0 u32 length   4 u16 kind (0: only marks the wrap)   6 u16 0   8 i64 time in the producer's ticks   16 record
 *
 * and begins at a multiple of 16 bytes; a record lies in one piece.
 *
 * Producer: reserve, fill, commit (or put) any number of times, then publish. Reader: wait, drain. Creating and
 * destroying belong to the reader's side, while no producer runs. */
#ifndef ETWCAP_RING_H
#define ETWCAP_RING_H

#include "etwcap.h"

#define EC_RING_SLOT 16u
#define EC_RING_SMALLEST ((uint64_t)1 << 12)
#define EC_RING_LARGEST ((uint64_t)1 << 32)

typedef struct ec_ring ec_ring;

struct ec_ring_counts {
    uint64_t taken, taken_bytes;         /* records that the ring took, and their bytes without slot headers */
    uint64_t refused, refused_bytes;     /* records that did not fit */
    uint64_t delivered, delivered_bytes; /* given to the reader */
    uint64_t wakes;                      /* system calls that the producer made to wake the reader */
};

struct ec_ring_columns { /* where drain puts the rows */
    int64_t *time;       /* ticks */
    int64_t *offset;     /* of the record in out */
    uint32_t *length;
    uint16_t *kind;
};

struct ec_ring_drained {
    uint64_t rows;
    uint64_t bytes;      /* of out that are used */
    int64_t complete_to; /* ticks: no later drain gives anything earlier; INT64_MIN: nothing is known yet */
    uint32_t more;       /* 1: records were left for want of room or rows */
    uint32_t ended;      /* 1: the producer closed the ring and everything has been read */
};

/* Allocates a ring of size bytes, a power of two from EC_RING_SMALLEST to EC_RING_LARGEST. NULL where that fails. */
EC_API ec_ring *ec_ring_create(uint64_t size);
/* Frees the ring. NULL is allowed. */
EC_API void ec_ring_destroy(ec_ring *ring);
/* Bytes of the longest record that the ring can take. */
EC_API uint32_t ec_ring_longest(const ec_ring *ring);

/* Producer. Room for a record of length bytes, or NULL (counted as refused). It becomes a record by commit; a second
 * reserve without commit gives the same room. */
EC_API uint8_t *ec_ring_reserve(ec_ring *ring, uint64_t length);
EC_API void ec_ring_commit(ec_ring *ring, uint16_t kind, int64_t time);
/* Producer. reserve, copy, commit; 1, or 0 where the record was refused. kind is not 0. */
EC_API int32_t ec_ring_put(ec_ring *ring, uint16_t kind, int64_t time, const uint8_t *record, uint64_t length);
/* Producer. Makes everything committed visible, then the promise that no later record is earlier than complete_to
 * (an earlier promise than the last one is ignored), and wakes the reader if it wants to be woken at this fill. */
EC_API void ec_ring_publish(ec_ring *ring, int64_t complete_to);
/* Producer. Publishes everything committed; nothing follows. */
EC_API void ec_ring_close(ec_ring *ring);

/* Reader. Sleeps until fill bytes (slot headers counted) are in the ring, it is closed, or the time is over.
 * 1: something is there to do; 0: the time is over, or a signal came. */
EC_API int32_t ec_ring_wait(ec_ring *ring, uint64_t fill, uint32_t milliseconds);
/* Reader. Copies whole records to out[0..room), at most rows of them. 0, or -1 where the first record is longer than
 * room (nothing was taken), or -2 where the memory of the ring is damaged. */
EC_API int32_t ec_ring_drain(ec_ring *ring, uint8_t *out, uint64_t room, uint64_t rows,
                             const struct ec_ring_columns *columns, struct ec_ring_drained *drained);
/* Any thread. Exact once the ring has ended; before that each number is a moment's. */
EC_API void ec_ring_count(ec_ring *ring, struct ec_ring_counts *counts);

#endif
