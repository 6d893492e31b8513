/* Reading packets: the records of a window of a pcap or pcapng file become columns. */
#ifndef ETWCAP_CAPFILE_H
#define ETWCAP_CAPFILE_H

#include "etwcap.h"

/* Why an index call came back. `at` is the block or record that was not taken. */
enum {
    EC_INDEX_MORE = 0,   /* the window ends inside it; `need` bytes from `at` are wanted at least */
    EC_INDEX_FULL = 1,   /* every row is used */
    EC_INDEX_BLOCK = 2,  /* a whole block that is no packet, `need` bytes; or a section header, which is not checked */
    EC_INDEX_BROKEN = 3, /* no block can be that: its lengths contradict each other or exceed `limit` */
    EC_INDEX_DOUBT = 5,  /* pcap: a record behind which no regular one begins: is its length right? */
    EC_INDEX_MISFIT = 4, /* a packet block, `need` bytes, whose content does not fit in it or whose interface is unknown */
};

/* How far a pcap record's length is held against the record behind it. */
enum {
    EC_CHECK_NONE = 0,
    EC_CHECK_HERE = 1, /* where its header lies in the window */
    EC_CHECK_ALL = 2,  /* a record is not taken before that is so */
};

/* Columns that hold something in at least one row. */
enum {
    EC_SEEN_INTERFACE = 1,
    EC_SEEN_DIRECTION = 2,
    EC_SEEN_FLAGS = 4,
    EC_SEEN_PACKET_ID = 8,
    EC_SEEN_PROCESS = 16,
    EC_SEEN_OPTIONS = 32,
};

/* An interface of the current section. */
struct ec_capture_interface {
    int64_t offset;     /* if_tsoffset, s */
    uint32_t snap;      /* 0: no limit */
    int32_t interface;  /* what the `interface` column gets */
    uint8_t resolution; /* if_tsresol */
    uint8_t reserved[3];
    uint32_t nanos; /* if_tsoffset_ns, 0 to 999,999,999 */
};

/* One call; the same struct is declared in capfile.py. Every column has `rows` rows. */
struct ec_index {
    uint8_t *buffer; /* options of packets are rewritten in place */
    size_t size;
    size_t at;     /* in and out */
    size_t need;   /* out */
    size_t limit;  /* longest block or packet that is believed */
    size_t rows;
    size_t row;    /* in and out */
    int64_t latest; /* in and out: highest time so far */
    uint64_t late, clamped, untimed, odd; /* in and out: rows marked so; packets without a time; broken options */
    size_t odd_at; /* first block whose options are broken, when odd rose from 0 */
    uint32_t seen; /* in and out */
    uint32_t swapped; /* the file's byte order is not the machine's */
    uint32_t scale;   /* pcap: ns per unit of the fraction */
    uint32_t header;  /* pcap: bytes of a record header */
    uint32_t checks;  /* pcap: EC_CHECK_ */
    uint32_t either;  /* pcap: the two lengths of a record stand in either order */
    size_t sure;      /* pcap: records before this place are not checked */
    uint32_t late_mark, clamped_mark, length_mark, process_mark; /* bits of `flags` */
    const struct ec_capture_interface *table; /* pcapng */
    size_t interfaces;
    int64_t *time;
    int32_t *interface;
    uint8_t *direction;
    int64_t *offset;
    uint32_t *captured;
    uint32_t *original;
    uint32_t *flags;
    uint64_t *packet_id;
    uint32_t *process;
    uint32_t *thread;
    int64_t *options_offset;
    uint32_t *options_length;
};

/* pcap: records of one interface (always row 0 of the interface column). */
EC_API int32_t ec_pcap_index(struct ec_index *job);

/* pcapng: Enhanced, Simple and (obsolete) Packet Blocks. Options stay where they are, turned into little-endian TLVs
 * without opt_endofopt; what has a column of its own (direction, packet id, process) is taken out. */
EC_API int32_t ec_pcapng_index(struct ec_index *job);

/* The first place in buffer[from..size) at which a pcapng block of a known type stands: its two lengths agree, are at
 * most `limit`, and another such header or the end (where `ends`) follows. `size` where there is none. Only places
 * before `until` are looked at. */
EC_API size_t ec_pcapng_find(const uint8_t *buffer, size_t size, size_t from, size_t until, size_t limit,
                             uint32_t swapped, uint32_t ends);

/* Ticks of if_tsresol `resolution` since 1970 plus `offset` seconds and `extra` ns (below 10^9), as ns; the nearest int64 where that does not fit,
 * and then *clamped is 1. */
EC_API int64_t ec_ticks_to_ns(uint64_t ticks, uint8_t resolution, int64_t offset, uint32_t extra, int32_t *clamped);

#endif
