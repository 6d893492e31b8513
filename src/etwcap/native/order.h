/* Causal order: packets wait until those have come that they must stand behind. */
#ifndef ETWCAP_ORDER_H
#define ETWCAP_ORDER_H

#include "order_facts.h"

/* Sizes of the tables, powers of two but for the ways. */
enum { EC_ORDER_RING = 1 << 15, EC_ORDER_EDGES = 1 << 15, EC_ORDER_BUCKETS = 1 << 13, EC_ORDER_WAYS = 4,
       EC_ORDER_KEYS = 1 << 15, EC_ORDER_WAITING = 1 << 12, EC_ORDER_HOLES = 12 };
/* Why a packet stands behind another: it answers that, or its sender sent that first. */
enum { EC_ORDER_ANSWER = 1, EC_ORDER_SEQUENCE = 2 };

/* A packet that has come, in a ring. */
typedef struct {
    ec_order_fact fact;
    uint64_t serial; /* packets are numbered from 1 on as they come */
    uint64_t before; /* the connection's packet before this one; 0: none */
    int64_t time;
    int64_t final;       /* of the latest packet it stands behind, or its own */
    int64_t oldest;      /* the earliest time of those that wait for it, and its own */
    uint32_t edges;      /* first of its edges, counted from 1 */
    uint32_t blockers;   /* edges that end here */
    uint32_t link;       /* slot + 1 of the next one to be passed on */
    uint32_t from;       /* first byte that nobody has seen before */
    uint32_t connection; /* index */
    uint8_t state, fresh, reason;
    uint8_t paired; /* a report of a doubled segment, or the copy that it reports */
    uint8_t ticks; /* its sender's time stamp goes on with it */
} ec_order_row;

/* effect waits for the row that holds the edge. */
typedef struct {
    uint64_t effect;
    uint32_t next;
    uint32_t kind; /* 0: cancelled */
} ec_order_edge;

/* One way of a connection. What "gone" names has been passed on; the others count what has come. */
typedef struct {
    uint32_t known; /* bits, which of these are */
    uint32_t next, seq, ack, sack, isn;
    uint32_t gone_seq, gone_ack, gone_sack;
    uint32_t stamp, echo; /* latest time stamp, and latest echo */
    uint32_t repeats; /* of the last acknowledgement */
    uint32_t holes;   /* used */
    uint32_t hole[2 * EC_ORDER_HOLES];
} ec_order_way;

typedef struct {
    uint64_t key;
    uint64_t used;       /* serial of the last packet */
    uint64_t last;       /* the same, to go back from */
    uint64_t error;      /* an ICMP error that quotes a segment not seen yet */
    int64_t loose_until; /* time up to which an edge of kind SEQUENCE may be open */
    ec_order_way way[2];
} ec_order_connection;

typedef struct {
    uint64_t key, serial;
} ec_order_waiting;

typedef struct {
    uint64_t next;   /* serial of the next packet, less 1: how many have come */
    uint64_t cursor; /* those up to here have been looked at for passing on */
    uint64_t oldest; /* those up to here have been passed on */
    uint64_t proofs; /* answers that stood before their causes */
    uint32_t edges_used, edges_free;
    ec_order_row ring[EC_ORDER_RING];
    ec_order_edge edges[EC_ORDER_EDGES];
    ec_order_connection connections[EC_ORDER_BUCKETS * EC_ORDER_WAYS];
    uint64_t asked[EC_ORDER_KEYS * EC_ORDER_WAYS];
    uint64_t seen[EC_ORDER_KEYS * EC_ORDER_WAYS];
    ec_order_waiting waiting[EC_ORDER_WAITING];
} ec_order;

/* Bytes of an ec_order, which begins as zeros. */
EC_API size_t ec_order_size(void);

/* Takes rows packets (at most EC_ORDER_RING / 4), in the order in which they stand. */
EC_API void ec_order_take(ec_order *order, const ec_order_fact *facts, const int64_t *time, size_t rows, int64_t window);

/* Gives those whose turn has come, in causal order: number (from 0 on), time and reason (0: not moved) of each; room
 * for EC_ORDER_RING. No packet still to come is earlier than complete_to. More than most are not held. Returns how
 * many it gave. */
EC_API size_t ec_order_give(ec_order *order, int64_t complete_to, int64_t window, size_t most, int64_t *number,
                            int64_t *time, uint8_t *reason);

/* Whether TCP number a lies behind b, and not so far that it could be another connection's. */
static inline int ec_order_beyond(uint32_t a, uint32_t b) { return a != b && a - b <= 1U << 24; }

static inline ec_order_row *ec_order_at(ec_order *order, uint64_t serial)
{
    return order->ring + (serial & (EC_ORDER_RING - 1));
}

/* Whether so many packets stood where they cannot have been that the order of the others proves little either. */
int ec_order_distrusted(const ec_order *order);
/* Makes effect wait for cause, unless that would move something by more than the window. */
void ec_order_tie(ec_order *order, ec_order_row *cause, ec_order_row *effect, uint32_t kind, int64_t window);
/* The row of that serial while it waits, else NULL. */
ec_order_row *ec_order_pending(ec_order *order, uint64_t serial);
/* Takes in a TCP segment, or an error that quotes one. */
void ec_order_segment(ec_order *order, ec_order_row *row, int64_t window);
void ec_order_quoting(ec_order *order, ec_order_row *row);
/* Notes that a segment has been passed on. */
void ec_order_gone(ec_order *order, const ec_order_row *row);

enum { EC_ORDER_WAITS, EC_ORDER_SKIPPED, EC_ORDER_DONE }; /* states */

#endif
