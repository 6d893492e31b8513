/* What TCP says of the order of its segments (RFC 9293, RFC 2018). */
#include "order_segment.h"

enum { FIN = EC_TCP_FIN, SYN = EC_TCP_SYN, RST = EC_TCP_RST, ACK = EC_TCP_ACK };
/* Bits of ec_order_way.known. */
enum { NEXT = 1, SEQ = 2, ACKED = 4, SACKED = 8, ISN = 16, GONE_SEQ = 32, GONE_ACK = 64, GONE_SACK = 128,
       STAMPED = 256, ECHOED = 512 };
enum { FARTHEST = 1024, OPENING = 1 << 16, THRESHOLD = 3, NEXT_IDENTS = 256 };

#define beyond ec_order_beyond

static ec_order_connection *find_connection(ec_order *order, uint64_t key, uint64_t serial)
{
    ec_order_connection *bucket = order->connections + (key & (EC_ORDER_BUCKETS - 1)) * EC_ORDER_WAYS, *place = bucket;
    for (size_t i = 0; i < EC_ORDER_WAYS; i++) {
        if (bucket[i].key == key) {
            bucket[i].used = serial;
            return bucket + i;
        }
        if (bucket[i].used < place->used)
            place = bucket + i;
    }
    memset(place, 0, sizeof *place);
    place->key = key;
    place->used = serial;
    return place;
}

static void raise_to(ec_order_way *way, uint32_t *mark, uint32_t bit, uint32_t value)
{
    if (!(way->known & bit) || beyond(value, *mark) || value - *mark + (1U << 24) > 1U << 25)
        *mark = value;
    way->known |= bit;
}

static void drop_hole(ec_order_way *way, uint32_t number)
{
    way->holes--;
    for (uint32_t i = 2 * number; i < 2 * way->holes; i++)
        way->hole[i] = way->hole[i + 2];
}

static void add_hole(ec_order_way *way, uint32_t start, uint32_t end)
{
    if (way->holes == EC_ORDER_HOLES)
        drop_hole(way, 0);
    way->hole[2 * way->holes] = start;
    way->hole[2 * way->holes + 1] = end;
    way->holes++;
}

/* Takes the bytes from seq to end out of the holes; *from becomes the first that lay in one. */
static int fill_holes(ec_order_way *way, uint32_t seq, uint32_t end, uint32_t *from)
{
    int found = 0;
    for (uint32_t i = 0; i < way->holes;) {
        const uint32_t start = way->hole[2 * i], stop = way->hole[2 * i + 1];
        if (!beyond(end, start) || !beyond(stop, seq)) {
            i++;
            continue;
        }
        const uint32_t first = beyond(seq, start) ? seq : start;
        if (!found || beyond(*from, first))
            *from = first;
        found = 1;
        if (beyond(seq, start)) {
            way->hole[2 * i + 1] = seq;
            if (beyond(stop, end))
                add_hole(way, end, stop);
            else
                i++;
        } else if (beyond(stop, end)) {
            way->hole[2 * i] = end;
            i++;
        } else {
            drop_hole(way, i);
        }
    }
    return found;
}

/* Whether the segment has bytes that nobody has seen; *from is the first of them. */
static int take_bytes(ec_order_way *way, const ec_order_fact *fact, uint32_t *from)
{
    const uint32_t seq = fact->seq, end = fact->end;
    int fresh = 0;
    if (!(way->known & NEXT)) {
        way->known |= NEXT;
        way->next = end;
        *from = seq;
        return end - seq > 1 || (fact->flags & FIN); /* one byte alone may be a keep-alive's */
    }
    if (beyond(seq, way->next)) {
        add_hole(way, way->next, seq);
        way->next = end;
        *from = seq;
        return 1;
    }
    if (seq != way->next && !beyond(way->next, seq)) { /* far off: begin anew */
        way->holes = 0;
        way->next = end;
        return 0;
    }
    fresh = fill_holes(way, seq, end, from);
    if (beyond(end, way->next)) {
        if (!fresh)
            *from = way->next;
        way->next = end;
        fresh = 1;
    }
    return fresh;
}

/* A SYN that has not been seen begins a connection, unless a segment that came before it belongs to that already. */
static int take_opening(ec_order_connection *connection, const ec_order_fact *fact, uint32_t *from)
{
    ec_order_way *me = connection->way + fact->way, *other = connection->way + !fact->way;
    if ((me->known & ISN) && me->isn == fact->seq)
        return 0;
    if (!(fact->flags & ACK) && !((other->known & ACKED) && other->ack == fact->seq + 1))
        memset(other, 0, sizeof *other);
    if (!(me->known & SEQ) || me->seq - fact->seq - 1 >= OPENING) {
        memset(me, 0, sizeof *me);
        me->next = fact->end;
    }
    me->known |= ISN | NEXT;
    me->isn = fact->seq;
    *from = fact->seq;
    return 1;
}

/* The connection's row before that one, while it is near enough to count. */
static ec_order_row *back(ec_order *order, uint64_t serial, int64_t time, int64_t window)
{
    ec_order_row *row = ec_order_at(order, serial);
    const int64_t far = time < INT64_MIN + 2 * window ? INT64_MIN : time - 2 * window;
    return serial && row->serial == serial && row->time >= far ? row : NULL;
}

/* Whether an acknowledgement repeats another one but for more blocks (RFC 2018 4: a block stays until the bytes before it
 * have come). */
static int says_more(const ec_order_fact *late, const ec_order_fact *early)
{
    return ec_segment_pure(early) && ec_segment_pure(late) && late->ack == early->ack && late->seq == early->seq &&
           ec_segment_names_more(late, early);
}

typedef struct {
    int copy; /* the segment has been seen on another interface */
    int gap;  /* the receiver says that later bytes came first */
    int late; /* received with a later stamp than what its sender sent after it: so it came on the wire */
} witness;

static witness hear(ec_order *order, const ec_order_connection *connection, const ec_order_row *row, int64_t window)
{
    witness found = {0, 0, 0};
    const ec_order_fact *mine = &row->fact, *repeated = NULL;
    size_t steps = 0;
    for (const ec_order_row *other = back(order, connection->last, row->time, window); other && steps < FARTHEST;
         other = back(order, other->before, row->time, window), steps++) {
        const ec_order_fact *fact = &other->fact;
        if (fact->way == mine->way) {
            found.copy |= ec_segment_same(fact, mine);
            if (other->time < row->time && !(mine->side & EC_ORDER_SENT) && (fact->flags & mine->flags & ACK))
                found.late |= beyond(fact->ack, mine->ack) || says_more(fact, mine);
            continue;
        }
        found.gap |= ec_segment_tells_gap(fact, row);
        if (ec_segment_pure(fact) && fact->sacks == 0 && fact->ack == row->from) {
            found.gap |= repeated && repeated->seq == fact->seq && repeated->sign >> 16 == fact->sign >> 16;
            repeated = fact;
        }
    }
    return found;
}

/* Whether an earlier segment of the other way answers the row: acknowledges what it brings, or, in a capture that is not
 * to be trusted, echoes the time stamp that its sender uses for the first time here. */
static int answers(const ec_order *order, const ec_order_row *other, const ec_order_row *row, const ec_order_way *way)
{
    const ec_order_fact *fact = &other->fact;
    if (!(fact->flags & ACK))
        return 0;
    if (row->ticks && fact->stamped && fact->echo == row->fact.stamp && ec_order_distrusted(order))
        return 1;
    if (!row->fresh)
        return 0;
    if (row->fact.flags & SYN)
        return fact->ack - row->fact.seq - 1 < OPENING;
    if (beyond(fact->ack, row->from) && !((way->known & GONE_ACK) && beyond(way->gone_ack, row->from)))
        return 1;
    return fact->sacks && ec_segment_names(fact, row) && !((way->known & GONE_SACK) && beyond(way->gone_sack, row->from));
}

/* Whether a segment that came earlier was sent after the row by the same sender. Packets of the machine count within
 * the window; those it received only where both have one stamp, which tells nothing of their order. */
static int follows(const ec_order *order, const ec_order_row *other, const ec_order_row *row, const ec_order_way *way,
                   const witness *heard)
{
    const ec_order_fact *late = &other->fact, *mine = &row->fact;
    const int both = (late->flags & mine->flags & ACK) != 0, same = other->time == row->time;
    if (heard->late || (!(mine->side & EC_ORDER_SENT) && !same))
        return 0;
    if (row->fresh && (other->fresh || ec_segment_pure(late)) && !heard->gap && !(both && beyond(mine->ack, late->ack))) {
        if (mine->flags & SYN)
            return late->seq - mine->seq - 1 < OPENING;
        if (beyond(late->seq, row->from) && !((way->known & GONE_SEQ) && beyond(way->gone_seq, row->from)))
            return 1;
    }
    if (!both || ((late->flags | mine->flags) & (SYN | RST)))
        return 0;
    if (beyond(late->ack, mine->ack) && !((way->known & GONE_ACK) && beyond(way->gone_ack, mine->ack)) &&
        !(row->fresh && beyond(mine->seq, late->seq)))
        return 1;
    if (!same || !ec_segment_pure(mine) || late->ack != mine->ack)
        return 0;
    if (other->fresh)
        return late->seq == mine->seq || beyond(late->seq, mine->seq);
    if (ec_order_distrusted(order) && says_more(late, mine))
        return 1;
    return ec_segment_pure(late) && late->seq == mine->seq && (mine->sign & 0xFFFF) &&
           (((late->sign - mine->sign) & 0xFFFF) - 1 < NEXT_IDENTS);
}

/* A report that a segment was doubled (D-SACK) answers the copy right before it. In a capture that is not to be trusted
 * the copy may stand behind its report; of several, each has a report of its own. */
static void tie_report(ec_order *order, const ec_order_connection *connection, ec_order_row *copy, int64_t window)
{
    ec_order_row *report = NULL;
    size_t steps = 0;
    for (ec_order_row *other = back(order, connection->last, copy->time, window); other && steps < FARTHEST;
         other = back(order, other->before, copy->time, window), steps++)
        if (other->fact.way != copy->fact.way && (other->fact.flags & ACK) && other->state != EC_ORDER_DONE &&
            !other->paired && ec_segment_names_twice(&other->fact, copy))
            report = other;
    if (report) {
        copy->paired = report->paired = 1;
        ec_order_tie(order, copy, report, EC_ORDER_ANSWER, window);
    }
}

/* The same where the copy stands before its report, as it should: the report waits for no other copy. */
static void pair_report(ec_order *order, const ec_order_connection *connection, ec_order_row *report, int64_t window)
{
    size_t steps = 0;
    for (ec_order_row *other = back(order, connection->last, report->time, window); other && steps < FARTHEST;
         other = back(order, other->before, report->time, window), steps++)
        if (other->fact.way != report->fact.way && !other->fresh && !other->paired &&
            ec_segment_names_twice(&report->fact, other)) {
            other->paired = report->paired = 1;
            return;
        }
}

static void tie_all(ec_order *order, ec_order_connection *connection, ec_order_row *row, int64_t window)
{
    const witness nothing = {0, 0, 0};
    witness heard = nothing;
    int has_heard = 0;
    const ec_order_way *me = connection->way + row->fact.way, *others = connection->way + !row->fact.way;
    size_t steps = 0;
    if (!row->fresh && ec_order_distrusted(order))
        tie_report(order, connection, row, window);
    for (ec_order_row *other = back(order, connection->last, row->time, window); other && steps < FARTHEST;
         other = back(order, other->before, row->time, window), steps++) {
        if (other->state == EC_ORDER_DONE)
            continue;
        if (other->fact.way != row->fact.way) {
            if (answers(order, other, row, others))
                ec_order_tie(order, row, other, EC_ORDER_ANSWER, window);
        } else if (follows(order, other, row, me, &nothing)) {
            if (!has_heard)
                heard = hear(order, connection, row, window);
            has_heard = 1;
            if (heard.copy || !follows(order, other, row, me, &heard))
                continue;
            ec_order_tie(order, row, other, EC_ORDER_SEQUENCE, window);
            connection->loose_until = row->time > INT64_MAX - window ? INT64_MAX : row->time + window;
        }
    }
}

/* Frees what was put behind a segment that, as the receiver now says, came late indeed. Of segments
 * with one stamp only the machine itself can tell that later, when the newest block that it names (RFC 2018 4) begins with
 * the one that waits. */
static void loosen(ec_order *order, const ec_order_connection *connection, const ec_order_row *teller, int64_t window)
{
    size_t steps = 0;
    for (ec_order_row *row = back(order, connection->last, teller->time, window); row && steps < FARTHEST;
         row = back(order, row->before, teller->time, window), steps++) {
        if (row->fact.way == teller->fact.way || row->edges == 0 || !row->fresh || !ec_segment_tells_gap(&teller->fact, row))
            continue;
        for (uint32_t number = row->edges; number; number = order->edges[number - 1].next) {
            ec_order_edge *edge = order->edges + number - 1;
            ec_order_row *effect = edge->kind == EC_ORDER_SEQUENCE ? ec_order_pending(order, edge->effect) : NULL;
            if (effect == NULL || effect->state != EC_ORDER_WAITS)
                continue;
            const int newest = !(row->fact.side & EC_ORDER_SENT) && teller->fact.sack[0] == effect->fact.seq;
            if (teller->time <= row->time || effect->time != row->time || newest) {
                edge->kind = 0;
                effect->blockers--;
            }
        }
    }
}

/* A segment is sent again when its receiver has repeated itself (RFC 5681 3.2): in a capture that is not to be trusted,
 * it moves behind the repetitions, if it is not much earlier and its sender has not sent more with a later stamp. */
static void tie_repeated(ec_order *order, const ec_order_connection *connection, ec_order_row *row, int64_t window)
{
    const int64_t reach = row->time < INT64_MIN + window ? INT64_MIN : row->time - 3 * (window / 20);
    int64_t latest = INT64_MIN;
    size_t steps = 0;
    for (ec_order_row *other = back(order, connection->last, row->time, window); other && steps < FARTHEST;
         other = back(order, other->before, row->time, window), steps++) {
        const ec_order_fact *fact = &other->fact;
        if (fact->way == row->fact.way || fact->seq == fact->end)
            continue;
        if (other->time < latest || other->time < reach)
            return;
        latest = other->time;
        if ((fact->side & EC_ORDER_SENT) && !other->fresh && fact->seq == row->fact.ack && other->state != EC_ORDER_DONE)
            ec_order_tie(order, row, other, EC_ORDER_SEQUENCE, window);
    }
}

/* Whether the connection's rows have to be looked through. before: the one before this, NULL: none near. */
static int is_tangled(const ec_order *order, const ec_order_row *row, const ec_order_row *before,
                      const ec_order_way *me, const ec_order_way *other)
{
    const ec_order_fact *fact = &row->fact;
    if (before == NULL)
        return 0;
    if (row->fresh) {
        if (fact->flags & SYN)
            return 1;
        if ((other->known & ACKED) && beyond(other->ack, row->from))
            return 1;
        if ((other->known & SACKED) && beyond(other->sack, row->from))
            return 1;
        if ((me->known & SEQ) && beyond(me->seq, row->from))
            return 1;
    } else if (fact->seq != fact->end && (other->known & SACKED) && ec_order_distrusted(order)) {
        return 1;
    }
    if ((fact->flags & ACK) && (me->known & ACKED) && beyond(me->ack, fact->ack))
        return 1;
    if (row->ticks && (other->known & ECHOED) && !beyond(fact->stamp, other->echo) && ec_order_distrusted(order))
        return 1;
    return ec_segment_pure(fact) && before->time == row->time && (me->known & (NEXT | ACKED)) == (NEXT | ACKED) &&
           (me->ack == fact->ack || beyond(me->next, fact->seq));
}

void ec_order_segment(ec_order *order, ec_order_row *row, int64_t window)
{
    const ec_order_fact *fact = &row->fact;
    ec_order_connection *connection = find_connection(order, fact->key, row->serial);
    ec_order_way *me = connection->way + fact->way, *other = connection->way + !fact->way;
    row->connection = (uint32_t)(connection - order->connections);
    row->from = fact->seq;
    if (fact->flags & SYN) {
        row->fresh = (uint8_t)take_opening(connection, fact, &row->from);
    } else if (fact->seq != fact->end) {
        row->fresh = (uint8_t)take_bytes(me, fact, &row->from);
    } else if (!(me->known & NEXT)) {
        me->known |= NEXT;
        me->next = fact->seq;
    }
    row->ticks = fact->stamped && (me->known & STAMPED) && beyond(fact->stamp, me->stamp);
    if (is_tangled(order, row, back(order, connection->last, row->time, window), me, other))
        tie_all(order, connection, row, window);
    ec_order_row *error = connection->error ? ec_order_pending(order, connection->error) : NULL;
    if (error && error->fact.way == fact->way && error->fact.seq == fact->seq) {
        ec_order_tie(order, row, error, EC_ORDER_ANSWER, window);
        connection->error = 0;
    }
    raise_to(me, &me->seq, SEQ, fact->seq);
    if (fact->stamped) {
        raise_to(me, &me->echo, ECHOED, fact->echo);
        raise_to(me, &me->stamp, STAMPED, fact->stamp);
    }
    if (fact->flags & ACK) {
        if (!(me->known & ACKED) || me->ack != fact->ack)
            me->repeats = 0;
        else if (ec_segment_pure(fact) && me->repeats++ < THRESHOLD && ec_order_distrusted(order))
            tie_repeated(order, connection, row, window);
        raise_to(me, &me->ack, ACKED, fact->ack);
        for (size_t i = 0; i < fact->sacks; i++)
            raise_to(me, &me->sack, SACKED, fact->sack[2 * i + 1]);
        if (fact->sacks && row->time <= connection->loose_until)
            loosen(order, connection, row, window);
        if (ec_segment_reports(fact) && ec_order_distrusted(order))
            pair_report(order, connection, row, window);
    }
    row->before = connection->last;
    connection->last = row->serial;
}

void ec_order_quoting(ec_order *order, ec_order_row *row)
{
    ec_order_connection *connection = find_connection(order, row->fact.key, row->serial);
    const ec_order_way *way = connection->way + row->fact.way;
    if (!(way->known & NEXT) || !beyond(way->next, row->fact.seq))
        connection->error = row->serial;
}

void ec_order_gone(ec_order *order, const ec_order_row *row)
{
    ec_order_connection *connection = order->connections + row->connection;
    const ec_order_fact *fact = &row->fact;
    ec_order_way *way = connection->way + fact->way;
    if (connection->key != fact->key)
        return;
    raise_to(way, &way->gone_seq, GONE_SEQ, fact->seq);
    if (!(fact->flags & ACK))
        return;
    raise_to(way, &way->gone_ack, GONE_ACK, fact->ack);
    for (size_t i = 0; i < fact->sacks; i++)
        raise_to(way, &way->gone_sack, GONE_SACK, fact->sack[2 * i + 1]);
}
