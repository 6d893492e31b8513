/* The machine that runs capture filters. */
#ifndef ETWCAP_FILTER_H
#define ETWCAP_FILTER_H

#include "etwcap.h"

/* One instruction. Loads that leave the captured bytes and divisions by zero end the program: no match. */
typedef struct {
    uint32_t op; /* as in filter.py */
    uint32_t k;
    uint32_t jt, jf; /* of jumps: the instruction to go on with, always a later one */
} ec_filter_insn;

typedef struct {
    const uint8_t *buffer;
    size_t size;
    const int64_t *offset;
    const uint32_t *captured;
    const uint32_t *original;
    const int32_t *interface;
    const uint32_t *facts;   /* NULL: zero */
    const uint32_t *process; /* NULL: zero */
    size_t rows;
} ec_filter_packets;

/* keep[i] = 1 for the packets that match. entry[n]: the first instruction for packets of interface n, or UINT32_MAX
 * where none of them match. Returns rows, or -(i + 1) for the first packet outside the buffer or of an interface that
 * is not in the table, or INT64_MIN for a program that is not sound. */
EC_API int64_t ec_filter_run(const ec_filter_insn *code, size_t count, const uint32_t *entry, size_t interfaces,
                             const ec_filter_packets *packets, uint8_t *keep);

#endif
