#include "blocks.h"

enum { EPB = 6, EPB_FRAME = 32, PCAP_HEADER = 16 };
enum { OPT_COMMENT = 1, OPT_FLAGS = 2, OPT_PACKETID = 5, OPT_VERDICT = 7, OPT_PROCESS = 8 };
enum { NO_PROCESS = 0xFFFFFFFF, VERDICT_SIZE = 9 };

#define NANO INT64_C(1000000000)

static inline uint64_t padded(uint64_t length) { return (length + 3) & ~UINT64_C(3); }

static inline int inside(int64_t offset, uint64_t length, size_t size)
{
    return offset >= 0 && (uint64_t)offset <= size && length <= size - (uint64_t)offset;
}

static inline void count(struct ec_tally *tally, int64_t time)
{
    if (tally->packets++ == 0) {
        tally->first = tally->last = time;
        return;
    }
    if (time < tally->first)
        tally->first = time;
    if (time > tally->last)
        tally->last = time;
}

/* The row's interface if it is known and numbered. */
static inline int32_t check_interface(const struct ec_write *job, size_t row, size_t *index)
{
    const int32_t interface = job->interface ? job->interface[row] : 0;
    if (interface < 0 || (size_t)interface >= job->interfaces)
        return EC_WRITE_OUTSIDE;
    *index = (size_t)interface;
    return job->numbers[*index] < 0 ? EC_WRITE_UNMAPPED : EC_WRITE_DONE;
}

/* The options of one row: what is to be written, and how long it is. */
struct row_options {
    const uint8_t *carried;
    uint64_t carried_length;
    const uint8_t *comment;
    uint64_t comment_length;
    uint32_t direction;
    uint64_t packet_id;
    int verdict;
    int process;
    uint64_t length; /* opt_endofopt included; 0: no options at all */
};

/* Which of the codes 0..31 occur in carried options; ends at what is no option. */
static uint32_t carried_codes(const uint8_t *options, uint64_t length)
{
    uint32_t codes = 0;
    for (uint64_t at = 0; length - at >= 4;) {
        const uint16_t code = ec_u16(options + at);
        const uint64_t step = 4 + padded(ec_u16(options + at + 2));
        if (code < 32)
            codes |= UINT32_C(1) << code;
        if (step > length - at)
            break;
        at += step;
    }
    return codes;
}

static int32_t plan_options(const struct ec_write *job, size_t row, struct row_options *plan)
{
    memset(plan, 0, sizeof *plan);
    uint32_t codes = 0;
    plan->direction = job->direction ? (job->direction[row] & 3U) : 0;
    plan->packet_id = job->packet_id ? job->packet_id[row] : 0;
    plan->verdict = job->drop_count && job->drop_count[row] > 0;
    plan->process = job->process && job->flags && (job->flags[row] & job->trusted) && job->process[row] != NO_PROCESS;
    if (job->options_length && job->options_length[row] > 0) {
        const int64_t at = job->options_offset ? job->options_offset[row] : 0;
        plan->carried_length = job->options_length[row];
        if (plan->carried_length % 4 || !inside(at, plan->carried_length, job->size))
            return EC_WRITE_OUTSIDE;
        plan->carried = job->buffer + at;
        codes = carried_codes(plan->carried, plan->carried_length);
        plan->length = plan->carried_length;
    }
    if (plan->direction && !(codes & (1U << OPT_FLAGS)))
        plan->length += 8;
    if (codes & (1U << OPT_PACKETID))
        plan->packet_id = 0;
    if (plan->packet_id)
        plan->length += 12;
    if (plan->verdict)
        plan->length += 4 + padded(VERDICT_SIZE);
    if (codes & (1U << OPT_PROCESS))
        plan->process = 0;
    if (plan->process)
        plan->length += 12;
    if (job->comment && job->comment[row] >= 0) {
        const size_t number = (size_t)job->comment[row];
        if (number >= job->texts)
            return EC_WRITE_OUTSIDE;
        const uint64_t from = job->text_at[number], to = job->text_at[number + 1];
        if (from > to || to > job->text_size || to - from > UINT16_MAX)
            return EC_WRITE_OUTSIDE;
        plan->comment = job->text + from;
        plan->comment_length = to - from;
        plan->length += 4 + padded(plan->comment_length);
    }
    if (plan->length)
        plan->length += 4;
    return EC_WRITE_DONE;
}

static inline uint8_t *put_option(uint8_t *p, unsigned code, size_t length)
{
    ec_put16(p, (uint16_t)code);
    ec_put16(p + 2, (uint16_t)length);
    return p + 4;
}

/* Copies carried options; sets the direction bits of flags among them, and tells whether there were any flags. */
static int put_carried(uint8_t *p, const struct row_options *plan)
{
    int flags = 0;
    memcpy(p, plan->carried, (size_t)plan->carried_length);
    if (!plan->direction)
        return 0;
    for (uint64_t at = 0; plan->carried_length - at >= 4;) {
        const uint16_t code = ec_u16(p + at), length = ec_u16(p + at + 2);
        const uint64_t step = 4 + padded(length);
        if (code == OPT_FLAGS)
            flags = 1;
        if (step > plan->carried_length - at)
            break;
        if (code == OPT_FLAGS && length == 4)
            ec_put32(p + at + 4, (ec_u32(p + at + 4) & ~3U) | plan->direction);
        at += step;
    }
    return flags;
}

static void put_options(const struct ec_write *job, size_t row, const struct row_options *plan, uint8_t *p)
{
    int flags = 0;
    if (plan->carried_length) {
        flags = put_carried(p, plan);
        p += plan->carried_length;
    }
    if (plan->direction && !flags) {
        p = put_option(p, OPT_FLAGS, 4);
        ec_put32(p, plan->direction);
        p += 4;
    }
    if (plan->packet_id) {
        p = put_option(p, OPT_PACKETID, 8);
        ec_put64(p, plan->packet_id);
        p += 8;
    }
    if (plan->verdict) {
        p = put_option(p, OPT_VERDICT, VERDICT_SIZE);
        memset(p, 0, 12);
        ec_put32(p + 1, job->drop_reason ? job->drop_reason[row] : 0);
        ec_put32(p + 5, job->drop_location ? job->drop_location[row] : 0);
        p += 12;
    }
    if (plan->process) {
        p = put_option(p, OPT_PROCESS, 8);
        ec_put32(p, job->process[row]);
        ec_put32(p + 4, job->thread && job->thread[row] != NO_PROCESS ? job->thread[row] : 0);
        p += 8;
    }
    if (plan->comment) {
        const size_t length = (size_t)plan->comment_length;
        p = put_option(p, OPT_COMMENT, length);
        if (length % 4)
            ec_put32(p + padded(length) - 4, 0);
        memcpy(p, plan->comment, length);
        p += padded(length);
    }
    ec_put32(p, 0);
}

int32_t ec_epb_write(struct ec_write *job)
{
    const int rich = job->packet_id || job->drop_count || (job->process && job->flags) || job->comment ||
                     job->options_length;
    struct row_options plan = {0};

    for (size_t row = job->row; row < job->rows; row++) {
        job->row = row;
        const int64_t offset = job->offset[row];
        const uint32_t captured = job->captured[row];
        if (!inside(offset, captured, job->size))
            return EC_WRITE_OUTSIDE;
        size_t index;
        int32_t result = check_interface(job, row, &index);
        if (result != EC_WRITE_DONE)
            return result;
        const uint32_t direction = job->direction ? (job->direction[row] & 3U) : 0;
        if (rich && (result = plan_options(job, row, &plan)) != EC_WRITE_DONE)
            return result;
        const uint64_t options = rich ? plan.length : direction ? 12 : 0;
        const uint64_t body = padded(captured);
        const uint64_t total = EPB_FRAME + body + options;
        if (total > UINT32_MAX)
            return EC_WRITE_OUTSIDE;
        if (total > job->room - job->used) {
            job->need = (size_t)total;
            return EC_WRITE_FULL;
        }
        int64_t time = job->time ? job->time[row] : 0;
        if (time < 0) {
            time = 0;
            job->clamped++;
        }
        const uint32_t original = job->original ? job->original[row] : 0;

        uint8_t *p = job->out + job->used;
        ec_put32(p, EPB);
        ec_put32(p + 4, (uint32_t)total);
        ec_put32(p + 8, (uint32_t)job->numbers[index]);
        ec_put32(p + 12, (uint32_t)((uint64_t)time >> 32));
        ec_put32(p + 16, (uint32_t)time);
        ec_put32(p + 20, captured);
        ec_put32(p + 24, original > captured ? original : captured);
        p += 28;
        if (captured % 4)
            ec_put32(p + body - 4, 0);
        memcpy(p, job->buffer + offset, captured);
        p += body;
        if (rich) {
            if (options)
                put_options(job, row, &plan, p);
        } else if (direction) {
            ec_put32(p, OPT_FLAGS | 4U << 16);
            ec_put32(p + 4, direction);
            ec_put32(p + 8, 0);
        }
        ec_put32(p + options, (uint32_t)total);
        job->used += (size_t)total;
        if (captured > job->longest)
            job->longest = captured;
        count(&job->tallies[index], time);
    }
    job->row = job->rows;
    return EC_WRITE_DONE;
}

int32_t ec_pcap_write(struct ec_write *job)
{
    for (size_t row = job->row; row < job->rows; row++) {
        job->row = row;
        const int64_t offset = job->offset[row];
        const uint32_t captured = job->captured[row];
        if (!inside(offset, captured, job->size))
            return EC_WRITE_OUTSIDE;
        size_t index;
        const int32_t result = check_interface(job, row, &index);
        if (result != EC_WRITE_DONE)
            return result;
        const uint64_t total = PCAP_HEADER + (uint64_t)captured;
        if (total > job->room - job->used) {
            job->need = (size_t)total;
            return EC_WRITE_FULL;
        }
        int64_t time = job->time ? job->time[row] : 0;
        const int64_t last = (int64_t)UINT32_MAX * NANO + (NANO - 1);
        if (time < 0 || time > last) {
            time = time < 0 ? 0 : last;
            job->clamped++;
        }
        const uint32_t original = job->original ? job->original[row] : 0;

        uint8_t *p = job->out + job->used;
        ec_put32(p, (uint32_t)(time / NANO));
        ec_put32(p + 4, (uint32_t)(time % NANO));
        ec_put32(p + 8, captured);
        ec_put32(p + 12, original > captured ? original : captured);
        memcpy(p + PCAP_HEADER, job->buffer + offset, captured);
        job->used += (size_t)total;
        if (captured > job->longest)
            job->longest = captured;
        count(&job->tallies[index], time);
    }
    job->row = job->rows;
    return EC_WRITE_DONE;
}
