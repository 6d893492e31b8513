/* The ETL engine: buffer headers, record headers, clock, and the merge of all processors' records into one time order. */
#ifndef ETWCAP_ETL_H
#define ETWCAP_ETL_H

#include "etwcap.h"
#include "file.h"
#include "xpress.h"

/* A buffer of the file as its header says (WMI_BUFFER_HEADER); layout shared with etl/buffers.py. */
typedef struct ec_etl_buffer {
    int64_t offset;    /* in the file */
    int64_t sequence;  /* SequenceNumber */
    int64_t timestamp; /* TimeStamp */
    uint32_t size;     /* BufferSize; less where the file ends before */
    uint32_t filled;   /* Offset ("FilledBytes"): valid bytes with the header, unpacked */
    uint32_t chain;    /* written by the caller before the merge */
    uint16_t processor;
    uint16_t logger;
    uint16_t flags; /* BufferFlag */
    uint16_t type;  /* BufferType */
    uint32_t state;
} ec_etl_buffer;

/* One record; layout shared with etl/records.py. */
typedef struct ec_record {
    int64_t time;
    int64_t offset;
    int64_t raw;
    uint64_t keyword;
    uint32_t process;
    uint32_t thread;
    int32_t provider;
    uint32_t buffer;
    uint32_t position;
    uint16_t id;
    uint16_t size;
    uint16_t payload;
    uint16_t processor;
    uint8_t type;
    uint8_t version;
    uint8_t opcode;
    uint8_t level;
} ec_record;

/* Something that could not be read; layout shared with native/etl.py. */
typedef struct ec_etl_issue {
    uint32_t kind;
    uint32_t buffer;   /* index in the table of buffers */
    uint32_t position; /* in the unpacked buffer */
    uint32_t detail;
} ec_etl_issue;

/* The issues of a buffer come in the order of its bytes, but for EC_ISSUE_CUT of a plain one, which its header shows: that comes first.
 * A broken record from which nothing certain leads on loses the rest of the buffer as one issue, whether or not the stream breaks off
 * further on. */
enum ec_etl_issue_kind {
    EC_ISSUE_RECORD_SIZE = 1,  /* a size that cannot be; detail: bytes passed over */
    EC_ISSUE_RECORD_TYPE = 2,  /* a type that is not known, skipped by its size; detail: the marker word */
    EC_ISSUE_STREAM = 3,       /* the compressed stream is broken or short; detail: bytes missing */
    EC_ISSUE_CUT = 4,          /* the file ends inside the buffer; detail: bytes missing */
    EC_ISSUE_READ = 5,         /* the operating system could not read; detail: bytes missing */
    EC_ISSUE_MARKER = 6        /* no record where one should be; detail: bytes passed over */
};

/* How raw time stamps become ns since 1970 UTC. */
typedef struct ec_clock {
    int64_t type;      /* 2: raw is a FILETIME; else start + (raw - raw0) * scale / frequency */
    int64_t start;     /* FILETIME */
    int64_t raw0;
    int64_t scale;     /* 10^7 (QPC) or 10 (cycles per MHz) */
    int64_t frequency; /* > 0 */
} ec_clock;

typedef struct ec_etl_options {
    intptr_t handle;
    uint8_t *arena;          /* where records lie while a chunk is used */
    size_t arena_size;
    uint8_t *input;          /* chains * input_size, for compressed bytes; may be NULL if no buffer is compressed */
    size_t input_size;       /* per chain */
    uint8_t *history;        /* chains * EC_XPRESS_HISTORY; may be NULL likewise */
    size_t window;           /* bytes a chain reads at a time */
    size_t chunk_budget;     /* arena bytes newly taken after which a chunk ends */
    uint8_t *guids;          /* guid_capacity * 16: provider GUIDs by ordinal */
    uint32_t guid_capacity;
    uint32_t guid_count;     /* seeded by the caller */
    ec_etl_issue *issues;
    uint32_t issue_capacity;
    uint32_t chains;
    const uint32_t *chain_starts; /* chains + 1 indexes into buffers */
    const ec_etl_buffer *buffers; /* by chain, in order */
    ec_clock clock;
} ec_etl_options;

typedef struct ec_etl ec_etl;

EC_API size_t ec_etl_options_size(void);
/* Allocates the engine (nothing that grows with the file); NULL when memory or an argument is missing. */
EC_API ec_etl *ec_etl_open(const ec_etl_options *options);
EC_API void ec_etl_close(ec_etl *engine);
/* The next records, at most capacity. Returns how many; 0 at the end; -1 when the arena is too small for one record.
 * The bytes stay valid until the next call. *complete_to: ns, no later record is earlier. counters (4 x u64): issues in all, GUIDs
 * known, file bytes read, records so far. */
EC_API int64_t ec_etl_next(ec_etl *engine, ec_record *out, size_t capacity, int64_t *complete_to, uint64_t *counters);

/* Reads buffer headers from offset on. Stops at the end, at a full table, or at a header that cannot be one; *stopped is
 * the offset reached and the result the rows written; *reason: 0 end of file, 1 table full, 2 implausible header, 3 read error. */
EC_API int64_t ec_etl_scan(intptr_t handle, int64_t offset, int64_t file_size, uint32_t max_filled, uint32_t plain_size,
                           ec_etl_buffer *out, size_t capacity, int64_t *stopped, int32_t *reason);
/* The first offset at or after from (below to) where a plausible buffer header lies, whose successor is plausible too or the end
 * of the file; -1 if there is none. work is scratch memory of at least 4096 bytes. */
EC_API int64_t ec_etl_find_header(intptr_t handle, int64_t from, int64_t to, int64_t file_size, uint32_t max_filled,
                                  uint32_t plain_size, uint8_t *work, size_t work_size);

int64_t ec_clock_ns(const ec_clock *clock, int64_t raw);
EC_API void ec_clock_convert(const ec_clock *clock, const int64_t *raw, size_t count, int64_t *out);

enum ec_parse { EC_PARSE_OK = 0, EC_PARSE_END, EC_PARSE_SHORT, EC_PARSE_SIZE, EC_PARSE_TYPE, EC_PARSE_MARKER };
/* Reads a record header at p with have bytes at hand, of left bytes that remain in the buffer. Fills all of record but time, offset,
 * provider (kernel groups excepted), buffer, position and processor; *guid points at the GUID or is NULL; *stride is the way to the
 * next record, 0 where the size is not known or cannot be; SHORT: stride bytes (8 if 0) must be at hand. previous is the raw time of the record before (for messages without one). */
enum ec_parse ec_etl_parse(const uint8_t *p, size_t have, size_t left, int64_t previous, ec_record *record,
                           const uint8_t **guid, uint32_t *stride);

/* Whether a record may begin at p, of whose buffer left bytes (8 at least) remain: a marker of a known family, a size that fits. */
int ec_etl_may_begin(const uint8_t *p, size_t left);

/* A record whose size is too large may end, by chance, where another one does: the first offset in it at which records begin that
 * lead exactly to its end, with times in order (see ec_etl_resume), the first one not before raw and near it (what is random by nature, such
 * as an encrypted payload, leads to its end once in 10^4 times). UINT32_MAX where there is none. */
uint32_t ec_etl_swallowed(const uint8_t *p, uint32_t stride, int64_t raw);

/* The end of the chain of whole records of known types that begins at data, at most size. */
EC_API size_t ec_etl_records_end(const uint8_t *data, size_t size);

/* A compressed buffer that unpacks to more times its size is not sought through; traces compress 5 to 50 times. */
#define EC_ETL_MOST_RATIO 256u

/* Where the records of a damaged buffer certainly go on: the first payload offset at or after from (a multiple of 8) at which a
 * record of a known type lies from which the sizes lead, record by record, exactly to the buffer's filled end, with times that do not
 * go back and are not before low; the time of one record between two others may be broken. UINT32_MAX where there is none, or where the buffer cannot be read and unpacked whole. */
EC_API uint32_t ec_etl_records_resume(const uint8_t *data, size_t size); /* the same for a payload at hand, from its start */
EC_API uint32_t ec_etl_resume(intptr_t handle, const ec_etl_buffer *buffer, uint32_t from, int64_t low);

#endif
