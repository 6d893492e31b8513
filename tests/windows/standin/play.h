/* A play file: the events of traces in the order of their stamps, as ``etw_play.py`` writes them. */
#ifndef STANDIN_PLAY_H
#define STANDIN_PLAY_H

#include <windows.h>
#include <evntrace.h>
#include <evntcons.h>
#include <stdbool.h>
#include <stdint.h>

#define MOST_TRACKS 8

/* The events of one provider. */
struct track {
    GUID provider;
    uint32_t driver; /* 1: it gives packets only while its driver runs, and its last events when the driver stops */
    uint32_t reserved;
};

/* One event, as it lies in the file. */
struct event {
    uint32_t size;       /* of the record */
    uint16_t processor;
    uint16_t track;
    uint16_t payload_at; /* in the record */
    uint16_t last;       /* 1: told when the driver stops */
    uint32_t reserved;
    int64_t stamp;       /* ticks */
    uint8_t record[];    /* as in an ETL file: header, extended items, payload; padded to 8 */
};

struct play {
    int64_t filetime, ticks, frequency; /* the clock: FILETIME at a tick, ticks per second */
    uint32_t tracks, processors;
    struct track track[MOST_TRACKS];
    size_t events, lasts;
    const struct event **event; /* in order */
    const struct event **last;  /* told when a driver stops */
    void *memory;
};

/* Reads a play file; false where it cannot be read or is none. */
bool play_load(struct play *play, const wchar_t *path);
void play_free(struct play *play);

/* FILETIME of a tick, cut to 100 ns. */
int64_t play_filetime(const struct play *play, int64_t ticks);

#endif
