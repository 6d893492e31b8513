#include "play.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC 0x594C5045u

struct head {
    uint32_t magic, tracks;
    int64_t filetime, ticks, frequency;
    uint64_t events;
    struct track track[MOST_TRACKS];
};

static uint8_t *read_file(const wchar_t *path, size_t *size)
{
    FILE *file = _wfopen(path, L"rb");
    if (file == NULL)
        return NULL;
    uint8_t *data = NULL;
    if (_fseeki64(file, 0, SEEK_END) == 0) {
        *size = (size_t)_ftelli64(file);
        rewind(file);
        data = malloc(*size + 1);
        if (data != NULL && fread(data, 1, *size, file) != *size) {
            free(data);
            data = NULL;
        }
    }
    fclose(file);
    return data;
}

bool play_load(struct play *play, const wchar_t *path)
{
    memset(play, 0, sizeof *play);
    size_t size = 0;
    uint8_t *data = read_file(path, &size);
    const struct head *head = (const struct head *)data;
    if (data == NULL || size < sizeof *head || head->magic != MAGIC || head->tracks > MOST_TRACKS || head->frequency <= 0) {
        free(data);
        return false;
    }
    play->memory = data;
    play->filetime = head->filetime;
    play->ticks = head->ticks;
    play->frequency = head->frequency;
    play->tracks = head->tracks;
    play->processors = 1;
    memcpy(play->track, head->track, sizeof play->track);
    play->event = calloc((size_t)head->events + 1, sizeof *play->event);
    play->last = calloc((size_t)head->events + 1, sizeof *play->last);
    size_t at = sizeof *head;
    for (uint64_t number = 0; number < head->events; number++) {
        const struct event *event = (const struct event *)(data + at);
        if (size - at < sizeof *event || size - at - sizeof *event < event->size || event->payload_at > event->size ||
            event->size < sizeof(EVENT_HEADER) || event->track >= play->tracks) {
            play_free(play);
            return false;
        }
        if (event->last)
            play->last[play->lasts++] = event;
        else
            play->event[play->events++] = event;
        if (event->processor >= play->processors)
            play->processors = event->processor + 1u;
        at += sizeof *event + ((event->size + 7u) & ~7u);
    }
    return true;
}

void play_free(struct play *play)
{
    free(play->event);
    free(play->last);
    free(play->memory);
    memset(play, 0, sizeof *play);
}

int64_t play_filetime(const struct play *play, int64_t ticks)
{
    const int64_t since = ticks - play->ticks;
    const int64_t seconds = since / play->frequency, rest = since % play->frequency;
    return play->filetime + seconds * 10000000 + rest * 10000000 / play->frequency;
}
