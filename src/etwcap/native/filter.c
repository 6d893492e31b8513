#include "filter.h"

enum { CELLS = 32 };

enum {
    LDB_ABS, LDH_ABS, LDW_ABS, LDB_IND, LDH_IND, LDW_IND, LD_IMM, LD_LEN, LD_MEM, LD_FACTS, LD_PROCESS,
    LDX_MEM, LDX_MSH, ST, TAX, NEG, ADD_X, SUB_X, MUL_X, DIV_X, MOD_X, AND_X, OR_X, XOR_X, LSH_X, RSH_X,
    ADD_K, AND_K, LSH_K, JEQ_K, JGT_K, JGE_K, JSET_K, JGT_X, JGE_X, RET, OPS
};

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Whether the program stays within itself and its cells, and ends. */
static int sound(const ec_filter_insn *code, size_t count)
{
    if (count == 0 || code[count - 1].op != RET)
        return 0;
    for (size_t i = 0; i < count; i++) {
        const ec_filter_insn *c = code + i;
        if (c->op >= OPS)
            return 0;
        if (c->op >= JEQ_K && c->op <= JGE_X && (c->jt <= i || c->jf <= i || c->jt >= count || c->jf >= count))
            return 0;
        if ((c->op == LD_MEM || c->op == LDX_MEM || c->op == ST) && c->k >= CELLS)
            return 0;
        if (c->op == LSH_K && c->k > 31)
            return 0;
    }
    return 1;
}

static uint8_t matches(const ec_filter_insn *c, const ec_filter_insn *code, const uint8_t *p, uint32_t n,
                       uint32_t length, uint32_t facts, uint32_t process)
{
    uint32_t a = 0, x = 0, cells[CELLS] = {0};
    for (;; c++) {
        const uint32_t k = c->k;
        uint64_t at = k;
        switch (c->op) {
        case LDB_IND: at = (uint64_t)x + k; /* fall through */
        case LDB_ABS:
            if (at >= n)
                return 0;
            a = p[at];
            break;
        case LDH_IND: at = (uint64_t)x + k; /* fall through */
        case LDH_ABS:
            if (at + 2 > n)
                return 0;
            a = ec_be16(p + at);
            break;
        case LDW_IND: at = (uint64_t)x + k; /* fall through */
        case LDW_ABS:
            if (at + 4 > n)
                return 0;
            a = be32(p + at);
            break;
        case LD_IMM: a = k; break;
        case LD_LEN: a = length; break;
        case LD_MEM: a = cells[k]; break;
        case LD_FACTS: a = facts; break;
        case LD_PROCESS: a = process; break;
        case LDX_MEM: x = cells[k]; break;
        case LDX_MSH:
            if (k >= n)
                return 0;
            x = (uint32_t)(p[k] & 15) << 2;
            break;
        case ST: cells[k] = a; break;
        case TAX: x = a; break;
        case NEG: a = 0u - a; break;
        case ADD_X: a += x; break;
        case SUB_X: a -= x; break;
        case MUL_X: a *= x; break;
        case DIV_X:
            if (x == 0)
                return 0;
            a /= x;
            break;
        case MOD_X:
            if (x == 0)
                return 0;
            a %= x;
            break;
        case AND_X: a &= x; break;
        case OR_X: a |= x; break;
        case XOR_X: a ^= x; break;
        case LSH_X: a = x < 32 ? a << x : 0; break;
        case RSH_X: a = x < 32 ? a >> x : 0; break;
        case ADD_K: a += k; break;
        case AND_K: a &= k; break;
        case LSH_K: a <<= k; break;
        case JEQ_K: c = code + (a == k ? c->jt : c->jf) - 1; break;
        case JGT_K: c = code + (a > k ? c->jt : c->jf) - 1; break;
        case JGE_K: c = code + (a >= k ? c->jt : c->jf) - 1; break;
        case JSET_K: c = code + ((a & k) != 0 ? c->jt : c->jf) - 1; break;
        case JGT_X: c = code + (a > x ? c->jt : c->jf) - 1; break;
        case JGE_X: c = code + (a >= x ? c->jt : c->jf) - 1; break;
        default: return k != 0;
        }
    }
}

int64_t ec_filter_run(const ec_filter_insn *code, size_t count, const uint32_t *entry, size_t interfaces,
                      const ec_filter_packets *packets, uint8_t *keep)
{
    if (!sound(code, count))
        return INT64_MIN;
    for (size_t i = 0; i < interfaces; i++)
        if (entry[i] != UINT32_MAX && entry[i] >= count)
            return INT64_MIN;
    for (size_t i = 0; i < packets->rows; i++) {
        const int64_t offset = packets->offset[i];
        const uint32_t n = packets->captured[i];
        const int32_t interface = packets->interface[i];
        if (offset < 0 || (uint64_t)offset > packets->size || n > packets->size - (size_t)offset || interface < 0 ||
            (size_t)interface >= interfaces)
            return -(int64_t)i - 1;
        const uint32_t first = entry[interface];
        keep[i] = first == UINT32_MAX
                      ? 0
                      : matches(code + first, code, packets->buffer + offset, n, packets->original[i],
                                packets->facts == NULL ? 0 : packets->facts[i],
                                packets->process == NULL ? 0 : packets->process[i]);
    }
    return (int64_t)packets->rows;
}
