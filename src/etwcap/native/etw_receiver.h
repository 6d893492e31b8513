/* What ProcessTrace calls: events of a real-time trace session into a ring, as records of an ETL file.
 *
 * The structures are those of evntcons.h and evntrace.h for 64-bit processes, declared here so that this compiles and is
 * tested everywhere. A record in the ring (kind EC_ETW_RECORD, time: the event's stamp as it is) is
 *
 *     0 u16 processor   2 u16 logger   4 u32 0   8 the event as it lies in a file: EVENT_HEADER of 80 bytes whose first
 *     word is size, type and marker; the extended data items inline; the payload
 *
 * What Windows hands back with each event is a slot's number and generation (slots.h). */
#ifndef ETWCAP_ETW_RECEIVER_H
#define ETWCAP_ETW_RECEIVER_H

#include "etwcap.h"
#include "ring.h"

#define EC_ETW_RECORD 2u /* kind in the ring */
#define EC_ETW_LEAD 8u   /* bytes before the record */
#define EC_ETW_SLOTS 64u
#define EC_ETW_MOST_ITEMS 64u
#define EC_ETW_LONGEST 65535u /* a record's size is a u16 */

struct ec_event_header { /* EVENT_HEADER */
    uint16_t size, type, flags, property;
    uint32_t thread, process;
    int64_t time;
    uint8_t provider[16];
    uint16_t id;
    uint8_t version, channel, level, opcode;
    uint16_t task;
    uint64_t keyword, processor_time;
    uint8_t activity[16];
};

struct ec_extended_item { /* EVENT_HEADER_EXTENDED_DATA_ITEM */
    uint16_t reserved, type, linkage, size;
    uint64_t data; /* address */
};

struct ec_event_record { /* EVENT_RECORD */
    struct ec_event_header header;
    uint16_t processor; /* an index with flag EC_ETW_INDEX, else a number in the low byte */
    uint16_t logger;
    uint16_t items, length;
    const struct ec_extended_item *extended;
    const uint8_t *payload;
    uintptr_t context;
};

struct ec_trace_logfile { /* EVENT_TRACE_LOGFILEW */
    uint64_t before[55];
    uintptr_t context;
};

#if UINTPTR_MAX == UINT64_MAX
_Static_assert(sizeof(struct ec_event_header) == 80 && offsetof(struct ec_event_header, time) == 16 &&
               offsetof(struct ec_event_header, provider) == 24 && offsetof(struct ec_event_header, id) == 40 &&
               offsetof(struct ec_event_header, opcode) == 45 && offsetof(struct ec_event_header, keyword) == 48 &&
               offsetof(struct ec_event_header, activity) == 64, "EVENT_HEADER");
_Static_assert(sizeof(struct ec_extended_item) == 16 && offsetof(struct ec_extended_item, type) == 2 &&
               offsetof(struct ec_extended_item, size) == 6 && offsetof(struct ec_extended_item, data) == 8,
               "EVENT_HEADER_EXTENDED_DATA_ITEM");
_Static_assert(sizeof(struct ec_event_record) == 112 && offsetof(struct ec_event_record, processor) == 80 &&
               offsetof(struct ec_event_record, logger) == 82 && offsetof(struct ec_event_record, items) == 84 &&
               offsetof(struct ec_event_record, length) == 86 && offsetof(struct ec_event_record, extended) == 88 &&
               offsetof(struct ec_event_record, payload) == 96 && offsetof(struct ec_event_record, context) == 104,
               "EVENT_RECORD");
_Static_assert(sizeof(struct ec_trace_logfile) == 448 && offsetof(struct ec_trace_logfile, context) == 440,
               "EVENT_TRACE_LOGFILEW");
#endif

struct ec_etw_counts {
    uint64_t records;   /* given to the ring, taken or refused */
    uint64_t bytes;     /* of these */
    uint64_t buffers;   /* that were read to their end */
    uint64_t too_long;  /* events that no record can hold */
    uint64_t malformed; /* events whose lengths and pointers contradict each other */
    int64_t newest;     /* latest stamp; INT64_MIN before the first */
};

/* A slot for the events of one session into ring, which this is the only producer of. Gives the context that OpenTraceW is
 * told; 0 where no slot is free. */
EC_API uint64_t ec_etw_open(ec_ring *ring);
/* Nothing more goes into the ring, which is closed: its reader comes to its end. From any thread; safe twice. */
EC_API void ec_etw_end(uint64_t context);
/* ec_etw_end, and the slot is free. The ring may be destroyed then, whatever calls still come. */
EC_API void ec_etw_close(uint64_t context);
/* What came so far; buffers first, so that the records of these are in the ring. 0 where the slot is no longer the
 * context's. */
EC_API int32_t ec_etw_count(uint64_t context, struct ec_etw_counts *counts);
/* Calls of the process's life that came for a slot that had ended. */
EC_API uint64_t ec_etw_late(void);

/* The EventRecordCallback, and the BufferCallback; the latter gives 0, which ends ProcessTrace, once its slot has ended. */
EC_API void ec_etw_record(struct ec_event_record *event);
EC_API uint32_t ec_etw_buffer(struct ec_trace_logfile *logfile);

#endif
