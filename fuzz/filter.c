/* The filter machine: a hostile program is refused, a sound one reads nothing outside a packet, and whether a packet
 * matches depends on its captured bytes and columns alone. */
#include "filter.h"

#include "input.h"

#define CODE 48
#define PACKETS 4
#define INTERFACES 3
#define CELLS 32u

enum { OPS = 36, LSH_K = 28, FIRST_JUMP = 29, LAST_JUMP = 34, RET = 35 };

static int has_cell(uint32_t op) { return op == 8 || op == 11 || op == 13; }

/* A program of the input; most of what makes one unsound is put right where repair is set. */
static size_t read_program(fuzz_input *in, ec_filter_insn *code, int repair)
{
    const size_t count = fuzz_below(in, CODE + 1);
    for (size_t i = 0; i < count; i++) {
        ec_filter_insn *c = code + i;
        c->op = (uint32_t)fuzz_below(in, repair ? OPS : OPS + 4);
        c->k = (uint32_t)fuzz_extreme(in);
        c->jt = c->jf = 0;
        if (c->op >= FIRST_JUMP && c->op <= LAST_JUMP) {
            const size_t from = repair ? i + 1 : i > 3 ? i - 3 : 0; /* backwards too, where it is to be found out */
            c->jt = (uint32_t)(from + fuzz_below(in, 16));
            c->jf = (uint32_t)(from + fuzz_below(in, 16));
        }
        if (!repair) continue;
        if (c->jt >= count) c->jt = (uint32_t)count - 1;
        if (c->jf >= count) c->jf = (uint32_t)count - 1;
        if (has_cell(c->op)) c->k %= CELLS;
        if (c->op == LSH_K) c->k %= 32;
        if (i + 1 == count) c->op = RET;
    }
    return count;
}

/* Whether the header's rules hold: forward jumps, cells that exist, an end. */
static int sound(const ec_filter_insn *code, size_t count)
{
    int fine = count > 0 && code[count - 1].op == RET;
    for (size_t i = 0; i < count; i++) {
        const ec_filter_insn *c = code + i;
        const int jump = c->op >= FIRST_JUMP && c->op <= LAST_JUMP;
        fine &= c->op < OPS && !(has_cell(c->op) && c->k >= CELLS) && !(c->op == LSH_K && c->k > 31);
        fine &= !jump || (c->jt > i && c->jf > i && c->jt < count && c->jf < count);
    }
    return fine;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, data + size};
    const int repair = fuzz_below(&in, 4) != 0;
    ec_filter_insn *code = fuzz_room((CODE + 1) * sizeof *code);
    const size_t count = read_program(&in, code, repair);
    uint32_t entry[INTERFACES];
    int entries = 1;
    for (size_t i = 0; i < INTERFACES; i++) {
        const size_t first = fuzz_below(&in, CODE);
        entry[i] = first == CODE - 1 ? UINT32_MAX : (uint32_t)(repair && count ? first % count : first);
        entries &= entry[i] == UINT32_MAX || entry[i] < count;
    }
    int64_t offset[PACKETS];
    uint32_t captured[PACKETS], original[PACKETS], facts[PACKETS], process[PACKETS];
    int32_t interface[PACKETS];
    const size_t rows = fuzz_below(&in, PACKETS + 1), columns = fuzz_below(&in, 4);
    uint64_t places[PACKETS][2];
    for (size_t i = 0; i < rows; i++) {
        interface[i] = (int32_t)fuzz_below(&in, INTERFACES + 1) - (fuzz_below(&in, 32) == 0);
        original[i] = (uint32_t)fuzz_extreme(&in);
        facts[i] = (uint32_t)fuzz_number(&in, 2);
        process[i] = (uint32_t)fuzz_extreme(&in);
        places[i][0] = fuzz_number(&in, 1), places[i][1] = fuzz_number(&in, 1);
    }
    size_t left;
    uint8_t *bytes = fuzz_rest(&in, &left);
    size_t fit = rows;
    for (size_t i = 0; i < rows; i++) {
        fuzz_input place = {(const uint8_t *)places[i], (const uint8_t *)(places[i] + 1)};
        offset[i] = fuzz_place(&place, left);
        const int inside = offset[i] >= 0 && (uint64_t)offset[i] <= left;
        captured[i] = (uint32_t)places[i][1];
        if (inside && places[i][1] < 224 && captured[i] > left - (size_t)offset[i])
            captured[i] = (uint32_t)(left - (size_t)offset[i]);
        if (fit == rows && (!inside || captured[i] > left - (size_t)offset[i] || interface[i] < 0 || interface[i] >= INTERFACES))
            fit = i;
    }
    ec_filter_packets packets = {.buffer = bytes, .size = left, .offset = offset, .captured = captured,
                                 .original = original, .interface = interface, .facts = columns & 1 ? facts : NULL,
                                 .process = columns & 2 ? process : NULL, .rows = rows};
    uint8_t *keep = fuzz_room(rows);
    memset(keep, 7, rows);
    ec_filter_insn *exact = (ec_filter_insn *)fuzz_copy((const uint8_t *)code, count * sizeof *code);
    const int64_t got = ec_filter_run(exact, count, entry, INTERFACES, &packets, keep);
    if (!sound(code, count) || !entries) {
        MUST(got == INT64_MIN);
        fit = 0;
    } else {
        MUST(got == (fit == rows ? (int64_t)rows : -(int64_t)fit - 1));
    }
    for (size_t i = 0; i < rows; i++) MUST(i < fit ? keep[i] <= 1 : keep[i] == 7);
    for (size_t i = 0; i < fit; i++) { /* alone, in memory of its own */
        uint8_t *alone = fuzz_copy(bytes + offset[i], captured[i]), one = 7;
        const int64_t zero = 0;
        ec_filter_packets row = {.buffer = alone, .size = captured[i], .offset = &zero, .captured = captured + i,
                                 .original = original + i, .interface = interface + i,
                                 .facts = columns & 1 ? facts + i : NULL, .process = columns & 2 ? process + i : NULL,
                                 .rows = 1};
        MUST(ec_filter_run(exact, count, entry, INTERFACES, &row, &one) == 1 && one == keep[i]);
        free(alone);
    }
    free(exact), free(keep), free(bytes), free(code);
    return 0;
}
