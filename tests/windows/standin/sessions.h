/* Trace sessions: their buffers, and what is enabled in them. */
#ifndef STANDIN_SESSIONS_H
#define STANDIN_SESSIONS_H

#include "machine.h"

#define MOST_SESSIONS 64
#define MOST_PROCESSORS 256
#define MOST_ENABLED 16
#define NAME_LENGTH 1024

/* An event of a buffer; NULL: something was lost, ``stamp`` is the opcode that says what (32 events, 33 a buffer). */
struct entry {
    const struct event *event;
    int64_t stamp;
};

struct buffer {
    struct buffer *next;
    size_t count, room, bytes;
    struct entry *entries;
};

struct enabled {
    bool on, by_id;
    GUID provider;
    uint8_t level;
    uint64_t any, all;
    uint16_t ids[64], count;
};

struct session {
    wchar_t name[NAME_LENGTH + 1];
    uint64_t handle;
    uint16_t number;
    bool running;
    int readers;                /* consumers that process it */
    EVENT_TRACE_PROPERTIES properties;
    struct enabled enabled[MOST_ENABLED];
    struct buffer *current[MOST_PROCESSORS];
    struct buffer *first, **end; /* for the consumer */
    uint32_t in_use;            /* buffers that are not free */
    uint32_t pending_loss;      /* opcode to tell before the next event */
    int64_t attempts, flushed, looked;
};

/* All with the lock held. */
struct session *session_named(const wchar_t *name);
struct session *session_start(const wchar_t *name, const EVENT_TRACE_PROPERTIES *wanted);
struct session *session_of(uint64_t handle);
void session_flush(struct session *session);
void session_stop(struct session *session);
/* The next full buffer, which is the caller's until it is given back; NULL: none. */
struct buffer *session_take(struct session *session);
void session_give_back(struct session *session, struct buffer *buffer);
/* Ends it for good once nobody uses it. */
void session_let_go(struct session *session);
/* A session that is not of this process. */
struct elsewhere {
    wchar_t name[NAME_LENGTH + 1], file[NAME_LENGTH + 1];
};

/* Sessions that other processes left or have, and those of Windows' own programs; how many. */
int sessions_elsewhere(struct elsewhere *found, int most);
bool session_end_elsewhere(const wchar_t *name);
extern struct session *all_sessions[MOST_SESSIONS];

#endif
