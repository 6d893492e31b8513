#include "xpress.h"

#define NO_HALF 0x100u
/* The longest token: flags 4, match 2, nibble 1, byte 1, word 2, double word 4. */
#define TOKEN_MAX 16

void ec_xpress_start(ec_xpress *state)
{
    memset(state, 0, sizeof *state);
    state->half = NO_HALF;
}

static inline uint32_t leading_zeros(uint32_t v)
{
#if defined(__GNUC__)
    return v ? (uint32_t)__builtin_clz(v) : 32u;
#else
    uint32_t n = 0;
    while (n < 32 && !(v & 0x80000000u)) { v <<= 1; n++; }
    return n;
#endif
}

/* Copies length bytes from offset back, byte-by-byte semantics; may write up to 31 bytes past the match when room says so. */
static inline void copy_match(uint8_t *to, size_t offset, size_t length, size_t room)
{
    const uint8_t *from = to - offset;
    if (room >= length + 32) {
        if (offset >= 16) {
            uint8_t *end = to + length;
            do {
                memcpy(to, from, 16);
                to += 16;
                from += 16;
            } while (to < end);
            return;
        }
        if (offset == 1) {
            memset(to, *from, length);
            return;
        }
        if (length <= 16) {
            for (size_t i = 0; i < length; i++)
                to[i] = from[i];
            return;
        }
        /* Widen the pattern to a multiple of its period that is at least 16, then copy in 16s. */
        size_t period = offset;
        while (period < 16)
            period += offset;
        for (size_t i = 0; i < period && i < length; i++)
            to[i] = from[i];
        for (size_t i = period; i < length; i += 16)
            memcpy(to + i, to + i - period, 16);
        return;
    }
    for (size_t i = 0; i < length; i++)
        to[i] = from[i];
}

int ec_xpress_run(ec_xpress *state, const uint8_t **in_at, const uint8_t *in_end, int last, const uint8_t *history,
                  uint8_t **out_at, uint8_t *out_end)
{
    const uint8_t *in = *in_at;
    uint8_t *out = *out_at;
    uint32_t flags = state->flags, left = state->left, half = state->half;
    int status;

    if (state->length) {
        const size_t room = (size_t)(out_end - out);
        const size_t part = state->length < room ? state->length : room;
        copy_match(out, state->offset, part, room);
        out += part;
        state->length -= (uint32_t)part;
        if (state->length) {
            status = EC_XPRESS_OUTPUT;
            goto done;
        }
    }
    for (;;) {
        const size_t have = (size_t)(in_end - in);
        if (have < TOKEN_MAX + 32 && !last) {
            status = EC_XPRESS_INPUT;
            break;
        }
        if (left == 0) {
            if (have < 4) {
                /* A stream may end right after the last flag of a group; without any flag left it has ended. */
                status = have == 0 ? EC_XPRESS_END : EC_XPRESS_CUT;
                break;
            }
            flags = ec_u32(in);
            in += 4;
            left = 32;
            continue;
        }
        uint32_t run = leading_zeros(flags);
        if (run > left)
            run = left;
        if (run) {
            size_t take = run;
            const size_t room = (size_t)(out_end - out);
            if (have >= 32 && room >= 32) {
                memcpy(out, in, 32);
            } else {
                if (take > room)
                    take = room;
                if (take > have)
                    take = have;
                for (size_t i = 0; i < take; i++)
                    out[i] = in[i];
            }
            out += take;
            in += take;
            flags = take == 32 ? 0 : flags << take;
            left -= (uint32_t)take;
            if (take < run) {
                status = out == out_end ? EC_XPRESS_OUTPUT : EC_XPRESS_CUT;
                break;
            }
            continue;
        }
        if (have == 0) { /* a match flag and no input left: the end */
            status = EC_XPRESS_END;
            break;
        }
        if (out == out_end) {
            status = EC_XPRESS_OUTPUT;
            break;
        }
        if (have < 2) {
            status = EC_XPRESS_CUT;
            break;
        }
        const uint32_t token = ec_u16(in);
        const uint8_t *next = in + 2;
        const uint32_t offset = (token >> 3) + 1;
        uint32_t length = token & 7;
        uint32_t next_half = half;
        if (length == 7) {
            uint32_t nibble;
            if (half == NO_HALF) {
                if (next == in_end) {
                    status = EC_XPRESS_CUT;
                    break;
                }
                nibble = *next & 15u;
                next_half = (uint32_t)(*next >> 4);
                next++;
            } else {
                nibble = half;
                next_half = NO_HALF;
            }
            if (nibble < 15) {
                length = nibble + 7;
            } else {
                if (next == in_end) {
                    status = EC_XPRESS_CUT;
                    break;
                }
                uint32_t more = *next++;
                if (more < 255) {
                    length = more + 22;
                } else {
                    if (in_end - next < 2) {
                        status = EC_XPRESS_CUT;
                        break;
                    }
                    more = ec_u16(next);
                    next += 2;
                    if (more == 0) {
                        if (in_end - next < 4) {
                            status = EC_XPRESS_CUT;
                            break;
                        }
                        more = ec_u32(next);
                        next += 4;
                    }
                    if (more < 22 || more > 0x7FFFFFFFu) {
                        status = EC_XPRESS_BAD_LENGTH;
                        break;
                    }
                    length = more;
                }
            }
        }
        length += 3;
        if (offset > (size_t)(out - history)) {
            status = EC_XPRESS_BAD_OFFSET;
            break;
        }
        in = next;
        half = next_half;
        flags <<= 1;
        left--;
        const size_t room = (size_t)(out_end - out);
        if (length > room) {
            copy_match(out, offset, room, room);
            out = out_end;
            state->length = length - (uint32_t)room;
            state->offset = offset;
            status = EC_XPRESS_OUTPUT;
            break;
        }
        copy_match(out, offset, length, room);
        out += length;
    }
done:
    state->flags = flags;
    state->left = left;
    state->half = half;
    *in_at = in;
    *out_at = out;
    return status;
}

int64_t ec_xpress_decode(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_size, int32_t *status)
{
    ec_xpress state;
    uint8_t *at = out;
    const uint8_t *from = in;
    ec_xpress_start(&state);
    *status = ec_xpress_run(&state, &from, in + in_size, 1, out, &at, out + out_size);
    return at - out;
}
