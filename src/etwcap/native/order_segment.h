/* What one TCP segment says of another: RFC 9293, RFC 2018, RFC 2883, RFC 7323. */
#ifndef ETWCAP_ORDER_SEGMENT_H
#define ETWCAP_ORDER_SEGMENT_H

#include "order.h"

enum { EC_TCP_FIN = 1, EC_TCP_SYN = 2, EC_TCP_RST = 4, EC_TCP_ACK = 16 };

/* Whether it is an acknowledgement without data. */
static inline int ec_segment_pure(const ec_order_fact *fact)
{
    return fact->seq == fact->end && !(fact->flags & (EC_TCP_SYN | EC_TCP_FIN | EC_TCP_RST));
}

/* Whether they are one and the same segment, but for checksums. */
static inline int ec_segment_same(const ec_order_fact *a, const ec_order_fact *b)
{
    return a->seq == b->seq && a->end == b->end && a->ack == b->ack && a->sign == b->sign && a->flags == b->flags &&
           a->stamp == b->stamp && a->echo == b->echo && memcmp(a->sack, b->sack, sizeof a->sack) == 0;
}

/* Whether a selectively acknowledged block has one of the row's new bytes. */
static inline int ec_segment_names(const ec_order_fact *fact, const ec_order_row *row)
{
    for (size_t i = 0; i < fact->sacks; i++)
        if (ec_order_beyond(fact->sack[2 * i + 1], row->from) && ec_order_beyond(row->fact.end, fact->sack[2 * i]))
            return 1;
    return 0;
}

/* Whether the segment reports bytes as received twice: its first block lies below its acknowledgement or inside the
 * second block (RFC 2883). */
static inline int ec_segment_reports(const ec_order_fact *fact)
{
    const uint32_t left = fact->sack[0], right = fact->sack[1];
    if (fact->sacks == 0)
        return 0;
    return !ec_order_beyond(right, fact->ack) ||
           (fact->sacks > 1 && !ec_order_beyond(fact->sack[2], left) && !ec_order_beyond(right, fact->sack[3]));
}

/* Whether it reports so of the row's. */
static inline int ec_segment_names_twice(const ec_order_fact *fact, const ec_order_row *row)
{
    return fact->sack[0] == row->fact.seq && row->fact.seq != row->fact.end && ec_segment_reports(fact);
}

/* Whether each selectively acknowledged block of one acknowledgement lies in one of another's, which has more. */
static inline int ec_segment_names_more(const ec_order_fact *more, const ec_order_fact *less)
{
    size_t equal = 0;
    for (size_t i = 0; i < less->sacks; i++) {
        const uint32_t left = less->sack[2 * i], right = less->sack[2 * i + 1];
        size_t j = 0;
        while (j < more->sacks &&
               (ec_order_beyond(more->sack[2 * j], left) || ec_order_beyond(right, more->sack[2 * j + 1])))
            j++;
        if (j == more->sacks)
            return 0;
        equal += more->sack[2 * j] == left && more->sack[2 * j + 1] == right;
    }
    return equal < more->sacks;
}

/* Whether a segment of the other way says that bytes behind this row's have come, but not these. */
static inline int ec_segment_tells_gap(const ec_order_fact *fact, const ec_order_row *row)
{
    if (!(fact->flags & EC_TCP_ACK) || ec_order_beyond(fact->ack, row->from) || ec_segment_names(fact, row))
        return 0;
    for (size_t i = 0; i < fact->sacks; i++)
        if (ec_order_beyond(fact->sack[2 * i + 1], row->fact.end) && !ec_order_beyond(row->fact.end, fact->sack[2 * i]))
            return 1;
    return 0;
}

#endif
