/* The machine that is stood in for: its clock, what happens on it (the play), its PktMon driver, and what is to fail.
 *
 * The clock is that of the played trace: a tick that was read is never later than the stamp of an event still to come. It stands
 * still where the next event waits (for its driver, for room), and else runs on. */
#ifndef STANDIN_MACHINE_H
#define STANDIN_MACHINE_H

#include "play.h"

extern CRITICAL_SECTION machine_lock;
extern CONDITION_VARIABLE machine_changed;
extern struct play machine_play;

#define ALL_OPTIONS(OPTION)                                                                                                       \
    OPTION(pace, 0)           /* 0: flat out; else real time, that many per cent of it */                                         \
    OPTION(rate, 0)           /* events per second at most; 0: no limit */                                                        \
    OPTION(repeat, 1)         /* how often the play is given, each time with later stamps */                                      \
    OPTION(hold, 20)          /* ms from everything being ready to the first event */                                             \
    OPTION(starts, 1)         /* of the driver, before it gives packets */                                                        \
    OPTION(lossless, 1)       /* events wait for room; 0: they are lost, as on Windows */                                         \
    OPTION(buffers, 0)        /* most buffers of a session, whatever it asked for */                                              \
    OPTION(buffer_bytes, 0)   /* of each, whatever was asked for */                                                               \
    OPTION(delay, 0)          /* us that a consumer takes for each buffer */                                                      \
    OPTION(reverse, 0)        /* 1: a flush gives the last processor's buffer first */                                            \
    OPTION(flush_timer, 1000) /* ms between flushes that nobody asks for, whatever the session wants; 0: none */                  \
    OPTION(old, 0)            /* events with stamps before the clock's start */                                                   \
    OPTION(lose_every, 0)     /* each session loses every so many-th event (EventsLost) */                                        \
    OPTION(lose_buffer, 0)    /* each session loses its so many-th buffer (RealTimeBuffersLost) */                                \
    OPTION(late_calls, 0)     /* callbacks after the end of ProcessTrace and CloseTrace */                                        \
    OPTION(hang, 0)           /* ms that ProcessTrace takes to return */                                                          \
    OPTION(header, 1)         /* 1: consumers get the header event of the session first */                                        \
    OPTION(most_sessions, 64) /* on the machine */                                                                                \
    OPTION(tick, 1)           /* of PktMonApi's stamps, in 100 ns */                                                              \
    OPTION(missed, 0)         /* packets that PktMonApi says it missed, told with the tenth */

struct options {
#define OPTION(name, value) int64_t name;
    ALL_OPTIONS(OPTION)
#undef OPTION
};
extern struct options machine_options;

#define ALL_COUNTS(COUNT)                                                                                                         \
    COUNT(played)      /* events offered to a session that wants them, once for each */                                           \
    COUNT(delivered)   /* given to a callback */                                                                                  \
    COUNT(lost)        /* EventsLost of all sessions */                                                                           \
    COUNT(lost_buffers)                                                                                                           \
    COUNT(in_lost_buffers)                                                                                                        \
    COUNT(late)        /* callbacks after the end */                                                                              \
    COUNT(ended)       /* 1: everything has been played */                                                                        \
    COUNT(sessions)    /* of this process */                                                                                      \
    COUNT(consumers)                                                                                                              \
    COUNT(driver)      /* 1: it runs */                                                                                           \
    COUNT(starts)      /* of the driver */                                                                                        \
    COUNT(api_shift)   /* 100 ns that PktMonApi's stamps are later than the play's, so that they are of today */                  \
    COUNT(callback_ns) /* time spent in callbacks */                                                                              \
    COUNT(api_packets) /* given by PktMonApi */                                                                                   \
    COUNT(api_handles) /* of PktMonApi, not closed */

struct counts {
#define COUNT(name) int64_t name;
    ALL_COUNTS(COUNT)
#undef COUNT
};
extern struct counts machine_counts;

/* The error that the next call of a function is to give; 0: it works. Caller holds the lock. */
uint32_t machine_failure(const char *function);

/* A line in the list of what was asked for; takes the lock. */
void machine_note(const char *format, ...) __attribute__((format(gnu_printf, 1, 2)));
void machine_note_bytes(const char *what, const uint8_t *bytes, size_t size);

/* The driver of PktMon; each takes the lock. */
int standin_driver_running(void);
uint32_t standin_driver_start(void);
uint32_t standin_driver_stop(void);

/* ns of a clock that runs whatever is played. */
int64_t machine_real(void);

/* The played clock in ticks. Caller holds the lock. */
int64_t machine_clock(void);

/* Where things are kept that outlive a process; empty: nowhere. */
extern wchar_t machine_folder[MAX_PATH];
bool machine_file(const wchar_t *name, wchar_t *path);

/* ---- what the sessions do; all are called with the lock held ---- */

/* Whether some session wants a provider's events. */
bool sessions_want(const GUID *provider);
/* Writes an event into the sessions that want it; false: a session has no room, and it is to wait. */
bool sessions_write(const struct event *event, int64_t stamp);
/* Flushes that are due, and sessions that another process has ended. */
void sessions_tend(void);

#endif
