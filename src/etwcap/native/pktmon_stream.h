/* What PktMonApi.dll calls: the packets of a realtime stream, each into a ring as the record of an ETL file that
 * PktMon's driver would have written, event 160, or 170 for a drop.
 *
 * The stream is told a slot's number and generation (slots.h), whose lock also serves where several threads call: how
 * many do is not documented. */
#ifndef ETWCAP_PKTMON_STREAM_H
#define ETWCAP_PKTMON_STREAM_H

#include "etwcap.h"
#include "ring.h"

#define EC_PKTMON_RECORD 2u /* kind in the ring: a record of an ETL file */
#define EC_PKTMON_SLOTS 16u
#define EC_PKTMON_METADATA 40u

struct ec_stream_data { /* PACKETMONITOR_STREAM_DATA_DESCRIPTOR */
    const uint8_t *data;
    uint32_t size, metadata_offset, packet_offset, packet_length;
    uint32_t missed_writing, missed_reading;
};

struct ec_pktmon_counts {
    uint64_t packets;   /* given to the ring, taken or refused */
    uint64_t bytes;     /* of their records */
    uint64_t malformed; /* whose lengths contradict each other */
    uint64_t cut;       /* longer than what was delivered of them, or as long as that is at most */
    uint64_t missed;    /* that the stream says it missed, all reports added up */
    int64_t newest;     /* latest stamp; INT64_MIN before the first */
    uint32_t started, stopped, warnings, fatal; /* how often the stream said so */
    uint32_t reason;    /* of the last fatal error, else of the last warning */
    uint32_t truncation; /* bytes of a packet at most, as the stream said when it started; 0 before */
};

/* A slot for the packets of one stream into ring, which this is the only producer of. Gives the context that the
 * stream is told; 0 where no slot is free. */
EC_API uint64_t ec_pktmon_open(ec_ring *ring);
/* Nothing more goes into the ring, which is closed: its reader comes to its end. From any thread; safe twice. */
EC_API void ec_pktmon_end(uint64_t context);
/* ec_pktmon_end, and the slot is free. The ring may be destroyed then, whatever calls still come. */
EC_API void ec_pktmon_close(uint64_t context);
/* What came so far. 0 where the slot is no longer the context's. */
EC_API int32_t ec_pktmon_count(uint64_t context, struct ec_pktmon_counts *counts);
/* Calls of the process's life that came for a slot that had ended. */
EC_API uint64_t ec_pktmon_late(void);

/* The DataCallback, and the EventCallback, whose info depends on kind: 0 started, 1 stopped, 2 fatal error, 3 a packet
 * that could not be delivered. */
EC_API void ec_pktmon_data(void *context, const struct ec_stream_data *given);
EC_API void ec_pktmon_event(void *context, const uint8_t *info, uint32_t kind);

#endif
