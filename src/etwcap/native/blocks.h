/* Writing packets: rows of a packet table become Enhanced Packet Blocks (pcapng) or packet records (pcap). */
#ifndef ETWCAP_BLOCKS_H
#define ETWCAP_BLOCKS_H

#include "etwcap.h"

/* Results of the writers. All but EC_WRITE_DONE leave `row` at the row that was not written. */
enum {
    EC_WRITE_DONE = 0,     /* every row is written */
    EC_WRITE_FULL = 1,     /* the row does not fit into what is left of `out`; `need` bytes are wanted */
    EC_WRITE_UNMAPPED = 2, /* the row's interface has no number in the output yet */
    EC_WRITE_OUTSIDE = 3,  /* the row's bytes, options, interface or comment lie outside what was given */
};

/* What was written on one interface. */
struct ec_tally {
    uint64_t packets;
    int64_t first; /* lowest and highest time written; meaningless while packets is 0 */
    int64_t last;
};

/* One call. Columns are those of etwcap.packets.table; a NULL column reads as its default, offset and captured are
 * never NULL. The same struct is declared in blocks.py. */
struct ec_write {
    const uint8_t *buffer; /* packet bytes and carried options */
    size_t size;
    uint8_t *out;
    size_t room;
    size_t used; /* in and out: bytes of `out` that are filled */
    size_t rows;
    size_t row;             /* in and out: next row */
    size_t need;            /* out, EC_WRITE_FULL */
    uint64_t clamped;       /* in and out: times that the output cannot hold */
    uint32_t longest;       /* in and out: highest captured length */
    uint32_t trusted;       /* flag bit of rows whose process may be named */
    const int32_t *numbers; /* interface number in the output by index; -1: none yet */
    struct ec_tally *tallies;
    size_t interfaces;
    const uint8_t *text; /* comments, one after another */
    size_t text_size;
    const uint64_t *text_at; /* texts + 1 offsets into text */
    size_t texts;
    const int64_t *time;
    const int32_t *interface;
    const uint8_t *direction;
    const int64_t *offset;
    const uint32_t *captured;
    const uint32_t *original;
    const uint32_t *flags;
    const uint32_t *process;
    const uint32_t *thread;
    const uint64_t *packet_id;
    const uint32_t *drop_count;
    const uint32_t *drop_reason;
    const uint32_t *drop_location;
    const int32_t *comment;
    const int64_t *options_offset;
    const uint32_t *options_length;
};

/* Appends one Enhanced Packet Block per row (draft-ietf-opsawg-pcapng 4.3), times in ns. Carried options come first,
 * then flags, packet id, verdict, process and thread, comment; a code that is carried is not written again, but for
 * verdict and comment (which may repeat) and the direction bits of carried flags (which follow the column). */
EC_API int32_t ec_epb_write(struct ec_write *job);

/* Appends one pcap record with nanoseconds per row; options and direction have no place there. */
EC_API int32_t ec_pcap_write(struct ec_write *job);

#endif
