#include "order.h"

size_t ec_order_size(void) { return sizeof(ec_order); }

static int64_t earlier(int64_t time, int64_t span) { return time < INT64_MIN + span ? INT64_MIN : time - span; }

ec_order_row *ec_order_pending(ec_order *order, uint64_t serial)
{
    ec_order_row *row = ec_order_at(order, serial);
    return serial && row->serial == serial && row->state != EC_ORDER_DONE ? row : NULL;
}

int ec_order_distrusted(const ec_order *order) { return order->proofs >= 8 && order->proofs >= order->next / 1024; }

void ec_order_tie(ec_order *order, ec_order_row *cause, ec_order_row *effect, uint32_t kind, int64_t window)
{
    uint32_t number = order->edges_free;
    if (effect->oldest < earlier(cause->time, window) || cause->time < earlier(effect->time, window))
        return;
    if (number)
        order->edges_free = order->edges[number - 1].next;
    else if (order->edges_used < EC_ORDER_EDGES)
        number = ++order->edges_used;
    else
        return;
    order->edges[number - 1] = (ec_order_edge){effect->serial, cause->edges, kind};
    cause->edges = number;
    effect->blockers++;
    order->proofs += kind == EC_ORDER_ANSWER;
    if (effect->oldest < cause->oldest)
        cause->oldest = effect->oldest;
}

/* Sets of keys in buckets; where one is full, its oldest place but three is taken in turn. */
static uint64_t *find_key(uint64_t *set, uint64_t key)
{
    uint64_t *bucket = set + (key & (EC_ORDER_KEYS - 1)) * EC_ORDER_WAYS;
    for (size_t i = 0; i < EC_ORDER_WAYS; i++)
        if (bucket[i] == key)
            return bucket + i;
    return NULL;
}

static void add_key(uint64_t *set, uint64_t key, uint64_t serial)
{
    uint64_t *bucket = set + (key & (EC_ORDER_KEYS - 1)) * EC_ORDER_WAYS;
    size_t place = serial % EC_ORDER_WAYS;
    if (find_key(set, key))
        return;
    for (size_t i = 0; i < EC_ORDER_WAYS; i++)
        if (bucket[i] == 0) {
            place = i;
            break;
        }
    bucket[place] = key;
}

static void wait_for(ec_order *order, uint64_t key, uint64_t serial)
{
    order->waiting[key & (EC_ORDER_WAITING - 1)] = (ec_order_waiting){key, serial};
}

/* Ties what waits for that key to the row; tells whether anything did. */
static int release_waiting(ec_order *order, uint64_t key, ec_order_row *row, int64_t window)
{
    ec_order_waiting *waiting = order->waiting + (key & (EC_ORDER_WAITING - 1));
    ec_order_row *effect = waiting->key == key ? ec_order_pending(order, waiting->serial) : NULL;
    if (effect == NULL || effect == row)
        return 0;
    waiting->key = 0;
    const uint32_t before = effect->blockers;
    ec_order_tie(order, row, effect, EC_ORDER_ANSWER, window);
    return effect->blockers != before;
}

static void take_talk(ec_order *order, ec_order_row *row, int64_t window)
{
    const ec_order_fact *fact = &row->fact;
    if (fact->quote) {
        release_waiting(order, fact->quote, row, window);
        add_key(order->seen, fact->quote, row->serial);
    }
    if (fact->answer) {
        uint64_t *asked = find_key(order->asked, fact->answer);
        if (asked)
            *asked = 0;
        else
            wait_for(order, fact->answer, row->serial);
    }
    if (fact->key && !release_waiting(order, fact->key, row, window))
        add_key(order->asked, fact->key, row->serial);
}

void ec_order_take(ec_order *order, const ec_order_fact *facts, const int64_t *time, size_t rows, int64_t window)
{
    for (size_t i = 0; i < rows; i++) {
        const uint64_t serial = ++order->next;
        ec_order_row *row = ec_order_at(order, serial);
        memset(row, 0, sizeof *row);
        row->fact = facts[i];
        row->serial = serial;
        row->time = row->final = row->oldest = time[i];
        switch (facts[i].role) {
        case EC_ORDER_TCP:
            ec_order_segment(order, row, window);
            break;
        case EC_ORDER_TALK:
            take_talk(order, row, window);
            break;
        case EC_ORDER_ERROR:
            if (facts[i].answer && !find_key(order->seen, facts[i].answer))
                wait_for(order, facts[i].answer, serial);
            break;
        case EC_ORDER_TCP_ERROR:
            ec_order_quoting(order, row);
            break;
        default:
            break;
        }
    }
}

typedef struct {
    int64_t *number, *time;
    uint8_t *reason;
    size_t count;
} given;

/* Gives a row, right behind it those that waited for it alone, and so on. */
static void pass_on(ec_order *order, ec_order_row *first, given *out)
{
    first->link = 0;
    for (ec_order_row *row = first; row;) {
        const int moved = row->state == EC_ORDER_SKIPPED;
        uint32_t head = 0, *tail = &head;
        row->state = EC_ORDER_DONE;
        if (!moved)
            row->final = row->time;
        out->number[out->count] = (int64_t)(row->serial - 1);
        out->time[out->count] = row->final;
        out->reason[out->count++] = moved ? row->reason : 0;
        for (uint32_t number = row->edges; number;) {
            ec_order_edge *edge = order->edges + number - 1;
            ec_order_row *effect = edge->kind ? ec_order_pending(order, edge->effect) : NULL;
            const uint32_t next = edge->next;
            if (effect) {
                effect->blockers--;
                effect->reason = (uint8_t)edge->kind;
                if (effect->final < row->final)
                    effect->final = row->final;
                if (effect->blockers == 0 && effect->state == EC_ORDER_SKIPPED) {
                    *tail = (uint32_t)(effect - order->ring) + 1;
                    tail = &effect->link;
                }
            }
            edge->next = order->edges_free;
            order->edges_free = number;
            number = next;
        }
        row->edges = 0;
        if (row->fact.role == EC_ORDER_TCP)
            ec_order_gone(order, row);
        *tail = row->link;
        row = head ? order->ring + head - 1 : NULL;
    }
}

size_t ec_order_give(ec_order *order, int64_t complete_to, int64_t window, size_t most, int64_t *number, int64_t *time,
                     uint8_t *reason)
{
    given out = {number, time, reason, 0};
    const int64_t limit = complete_to == INT64_MAX ? complete_to : earlier(complete_to, window);
    while (order->cursor < order->next) {
        ec_order_row *row = ec_order_at(order, order->cursor + 1);
        if (row->time >= limit && complete_to != INT64_MAX && order->next - order->oldest <= most)
            break;
        order->cursor++;
        if (row->blockers)
            row->state = EC_ORDER_SKIPPED;
        else
            pass_on(order, row, &out);
        while (order->oldest < order->cursor) {
            row = ec_order_at(order, order->oldest + 1);
            if (row->state != EC_ORDER_DONE) {
                if (order->next - order->oldest <= most)
                    break;
                pass_on(order, row, &out);
            }
            order->oldest++;
        }
    }
    return out.count;
}
