/* PktMonApi.dll: the documented sessions with their streams, and the older exports that work on the driver's one capture.
 *
 * No SDK has a header of these; the layouts are those of Microsoft's pages and of published programs. */
#include "machine.h"

#include <stdlib.h>
#include <string.h>

#define VERSION 0x00010000u
#define MOST_SOURCES 256
#define BEFORE_METADATA 8 /* bytes: offsets are not 0 */
#define METADATA 40
#define COMPONENT 20
#define PROPERTY 30
#define PHYSICAL_ADDRESS 70
#define IF_INDEX 1
#define FLOW 160
#define DROP 170

#pragma pack(push, 1)
struct payload { /* of events 160 and 170 */
    uint8_t common[30];
    uint16_t original, logged;
    uint8_t data[];
};
struct metadata {
    uint8_t common[30];
    uint16_t processor;
    int64_t filetime;
};
#pragma pack(pop)

struct source {
    uint32_t kind;
    wchar_t name[64], description[128];
    uint32_t id, secondary, parent, present;
    uint32_t padding;
    uint8_t detail[16];
};
_Static_assert(sizeof(struct source) == 424, "DATA_SOURCE_SPECIFICATION");

struct source_list {
    uint32_t count;
    struct source *source[];
};

struct descriptor {
    const void *data;
    uint32_t size, metadata_at, packet_at, packet_length, missed_write, missed_read;
};
_Static_assert(sizeof(struct descriptor) == 32, "STREAM_DATA_DESCRIPTOR");

typedef void(WINAPI *event_callback)(void *context, const void *info, uint32_t kind);
typedef void(WINAPI *data_callback)(void *context, const struct descriptor *descriptor);

struct configuration {
    void *context;
    event_callback event;
    data_callback data;
    uint16_t multiplier, truncation;
};
_Static_assert(sizeof(struct configuration) == 32, "REALTIME_STREAM_CONFIGURATION");

struct stream {
    struct configuration how;
};

struct session {
    uint32_t ids[MOST_SOURCES], count;
    struct stream *stream;
    HANDLE thread;
    bool active;
    size_t next;
};

static HRESULT result(uint32_t code)
{
    return code == 0 ? S_OK : HRESULT_FROM_WIN32(code);
}

static HRESULT failed(const char *function)
{
    EnterCriticalSection(&machine_lock);
    const uint32_t code = machine_failure(function);
    LeaveCriticalSection(&machine_lock);
    return result(code);
}

HRESULT WINAPI standin_PacketMonitorInitialize(uint32_t version, void *reserved, void **handle)
{
    const HRESULT code = failed("PacketMonitorInitialize");
    *handle = NULL;
    if (code)
        return code;
    if (version != VERSION || reserved != NULL)
        return result(ERROR_REVISION_MISMATCH);
    *handle = calloc(1, 16);
    EnterCriticalSection(&machine_lock);
    machine_counts.api_handles++;
    LeaveCriticalSection(&machine_lock);
    return S_OK;
}

static void let_go(void *handle)
{
    free(handle);
    EnterCriticalSection(&machine_lock);
    machine_counts.api_handles--;
    LeaveCriticalSection(&machine_lock);
}

void WINAPI standin_PacketMonitorUninitialize(void *handle)
{
    let_go(handle);
}

/* ---- the components that the play's last words tell ---- */

static void read_text(const uint8_t **at, const uint8_t *end, wchar_t *text, size_t room)
{
    size_t length = 0;
    for (; end - *at >= 2; *at += 2) {
        wchar_t unit;
        memcpy(&unit, *at, 2);
        if (unit == 0) {
            *at += 2;
            break;
        }
        if (length + 1 < room)
            text[length++] = unit;
    }
    text[length] = 0;
}

static uint32_t kind_of(uint16_t type)
{
    switch (type) {
    case 2:
        return 1; /* a miniport is a network interface */
    case 3:
        return 2;
    case 4:
        return 3;
    case 6:
    case 7:
    case 8:
        return 5;
    default:
        return 6;
    }
}

static int list_sources(struct source *sources)
{
    int count = 0;
    for (size_t each = 0; each < machine_play.lasts; each++) {
        const struct event *event = machine_play.last[each];
        const uint8_t *at = event->record + event->payload_at, *end = event->record + event->size;
        uint16_t id, head[2];
        memcpy(&id, event->record + 40, 2);
        if (end - at < 8)
            continue;
        memcpy(head, at, 4);
        if (id == COMPONENT && count < MOST_SOURCES) {
            struct source *source = &sources[count++];
            memset(source, 0, sizeof *source);
            at += 4;
            source->id = head[0];
            source->kind = kind_of(head[1]);
            read_text(&at, end, source->name, 64);
            read_text(&at, end, source->description, 128);
        }
        for (int place = 0; place < count; place++) {
            if (sources[place].id != head[0])
                continue;
            if (id == PROPERTY && head[1] == IF_INDEX)
                memcpy(&sources[place].secondary, at + 4, 4);
            if (id == PHYSICAL_ADDRESS && end - at >= 14) {
                memcpy(sources[place].detail, at + 8, 6);
                sources[place].present = 8;
            }
        }
    }
    return count;
}

HRESULT WINAPI standin_PacketMonitorEnumDataSources(void *handle, uint32_t kind, BOOLEAN hidden, size_t capacity, size_t *needed,
                                                    struct source_list *list)
{
    static struct source known[MOST_SOURCES];
    const HRESULT code = failed("PacketMonitorEnumDataSources");
    if (code || handle == NULL)
        return code ? code : E_INVALIDARG;
    EnterCriticalSection(&machine_lock);
    const int all = list_sources(known);
    int count = 0;
    for (int each = 0; each < all; each++)
        if ((kind == 0 || known[each].kind == kind) && (hidden || known[each].kind <= 5))
            known[count++] = known[each];
    *needed = sizeof *list + (size_t)count * (sizeof(struct source *) + sizeof(struct source));
    const bool room = list != NULL && capacity >= *needed;
    if (room) {
        struct source *place = (struct source *)&list->source[count];
        list->count = (uint32_t)count;
        for (int each = 0; each < count; each++) {
            place[each] = known[each];
            list->source[each] = &place[each];
        }
    }
    LeaveCriticalSection(&machine_lock);
    return room ? S_OK : result(ERROR_INSUFFICIENT_BUFFER);
}

/* ---- sessions and streams ---- */

HRESULT WINAPI standin_PacketMonitorCreateLiveSession(void *handle, const wchar_t *name, struct session **session)
{
    const HRESULT code = failed("PacketMonitorCreateLiveSession");
    *session = NULL;
    if (code || handle == NULL || name == NULL || *name == 0 || wcslen(name) > 256)
        return code ? code : E_INVALIDARG;
    *session = calloc(1, sizeof **session);
    machine_note("PacketMonitorCreateLiveSession %ls", name);
    EnterCriticalSection(&machine_lock);
    machine_counts.api_handles++;
    LeaveCriticalSection(&machine_lock);
    return S_OK;
}

HRESULT WINAPI standin_PacketMonitorAddSingleDataSourceToSession(struct session *session, const struct source *source)
{
    const HRESULT code = failed("PacketMonitorAddSingleDataSourceToSession");
    if (code || session->count == MOST_SOURCES)
        return code ? code : E_OUTOFMEMORY;
    session->ids[session->count++] = source->id;
    machine_note("PacketMonitorAddSingleDataSourceToSession %u", source->id);
    return S_OK;
}

HRESULT WINAPI standin_PacketMonitorAddCaptureConstraint(struct session *session, const uint8_t *constraint)
{
    const HRESULT code = failed("PacketMonitorAddCaptureConstraint");
    (void)session;
    if (code == S_OK)
        machine_note_bytes("PacketMonitorAddCaptureConstraint", constraint, 216);
    return code;
}

HRESULT WINAPI standin_PacketMonitorCreateRealtimeStream(void *handle, const struct configuration *how, struct stream **stream)
{
    const HRESULT code = failed("PacketMonitorCreateRealtimeStream");
    *stream = NULL;
    if (code || handle == NULL || how->multiplier < 1 || how->multiplier > 10 || how->truncation > 9000 || !how->data)
        return code ? code : E_INVALIDARG;
    *stream = calloc(1, sizeof **stream);
    (*stream)->how = *how;
    machine_note("PacketMonitorCreateRealtimeStream %u %u", how->multiplier, how->truncation);
    EnterCriticalSection(&machine_lock);
    machine_counts.api_handles++;
    LeaveCriticalSection(&machine_lock);
    return S_OK;
}

HRESULT WINAPI standin_PacketMonitorAttachOutputToSession(struct session *session, struct stream *stream)
{
    const HRESULT code = failed("PacketMonitorAttachOutputToSession");
    if (code == S_OK)
        session->stream = stream;
    return code;
}

static bool wanted(const struct session *session, const struct event *event)
{
    uint16_t id, component;
    memcpy(&id, event->record + 40, 2);
    if ((id != FLOW && id != DROP) || event->size - event->payload_at < sizeof(struct payload))
        return false;
    memcpy(&component, event->record + event->payload_at + 16, 2);
    for (uint32_t each = 0; each < session->count; each++)
        if (session->ids[each] == component)
            return true;
    return false;
}

static void give(const struct stream *stream, const struct event *event, uint8_t *room, uint32_t missed)
{
    const struct payload *payload = (const struct payload *)(event->record + event->payload_at);
    const uint16_t most = stream->how.truncation ? stream->how.truncation : 128;
    const uint32_t length = payload->logged < most ? payload->logged : most;
    struct metadata metadata = {.processor = event->processor};
    const int64_t filetime = play_filetime(&machine_play, event->stamp) + machine_counts.api_shift;
    metadata.filetime = filetime - filetime % machine_options.tick;
    memcpy(metadata.common, payload->common, sizeof metadata.common);
    memset(room, 0xEE, BEFORE_METADATA);
    memcpy(room + BEFORE_METADATA, &metadata, METADATA);
    memcpy(room + BEFORE_METADATA + METADATA, payload->data, length);
    const struct descriptor descriptor = {.data = room, .size = BEFORE_METADATA + METADATA + length,
                                          .metadata_at = BEFORE_METADATA, .packet_at = BEFORE_METADATA + METADATA,
                                          .packet_length = length, .missed_write = missed};
    stream->how.data(stream->how.context, &descriptor);
    memset(room, 0xDD, descriptor.size);
}

static DWORD WINAPI stream_packets(void *given)
{
    struct session *session = given;
    const struct stream *stream = session->stream;
    struct {
        uint32_t buffer;
        uint16_t truncation;
    } started = {(uint32_t)stream->how.multiplier << 18, stream->how.truncation};
    uint8_t *room = malloc(BEFORE_METADATA + METADATA + 0x10000);
    int64_t done = 0;
    if (stream->how.event)
        stream->how.event(stream->how.context, &started, 0);
    const int64_t began = machine_real() + machine_options.hold * 1000000;
    FILETIME now;
    GetSystemTimePreciseAsFileTime(&now);
    EnterCriticalSection(&machine_lock);
    if (machine_play.events > 0)
        machine_counts.api_shift = ((int64_t)now.dwHighDateTime << 32 | now.dwLowDateTime) -
                                   play_filetime(&machine_play, machine_play.event[0]->stamp);
    while (room != NULL && session->active) {
        const int64_t since = machine_real() - began;
        const bool due = session->next < machine_play.events && since >= 0 &&
                         (!machine_options.rate || done * 1000000000 / machine_options.rate <= since);
        if (!due) {
            machine_counts.ended = session->next == machine_play.events;
            SleepConditionVariableCS(&machine_changed, &machine_lock, 1);
            continue;
        }
        const struct event *event = machine_play.event[session->next++];
        if (!wanted(session, event))
            continue;
        done++;
        machine_counts.api_packets++;
        const uint32_t missed = done == 10 ? (uint32_t)machine_options.missed : 0;
        LeaveCriticalSection(&machine_lock);
        give(stream, event, room, missed);
        EnterCriticalSection(&machine_lock);
    }
    LeaveCriticalSection(&machine_lock);
    if (stream->how.event)
        stream->how.event(stream->how.context, NULL, 1);
    free(room);
    return 0;
}

static void deactivate(struct session *session)
{
    EnterCriticalSection(&machine_lock);
    session->active = false;
    WakeAllConditionVariable(&machine_changed);
    LeaveCriticalSection(&machine_lock);
    if (session->thread != NULL) {
        WaitForSingleObject(session->thread, INFINITE);
        CloseHandle(session->thread);
        session->thread = NULL;
    }
}

HRESULT WINAPI standin_PacketMonitorSetSessionActive(struct session *session, BOOLEAN active)
{
    const HRESULT code = failed(active ? "PacketMonitorSetSessionActive on" : "PacketMonitorSetSessionActive off");
    if (code)
        return code;
    machine_note("PacketMonitorSetSessionActive %u", active);
    deactivate(session);
    if (!active || session->stream == NULL)
        return S_OK;
    session->active = true;
    session->thread = CreateThread(NULL, 0, stream_packets, session, 0, NULL);
    return S_OK;
}

void WINAPI standin_PacketMonitorCloseRealtimeStream(struct stream *stream)
{
    let_go(stream);
}

void WINAPI standin_PacketMonitorCloseSessionHandle(struct session *session)
{
    deactivate(session);
    let_go(session);
}

/* ---- the older exports ---- */

uint32_t WINAPI standin_PktmonStart(const uint8_t *how, void *reserved)
{
    (void)reserved;
    machine_note_bytes("PktmonStart", how, 32);
    return standin_driver_running() ? ERROR_BUSY : standin_driver_start();
}

uint32_t WINAPI standin_PktmonStop(uint8_t *status)
{
    memset(status, 0, 0x103C);
    machine_note("PktmonStop");
    return standin_driver_stop();
}

uint32_t WINAPI standin_PktmonGetStatus(uint8_t *status)
{
    memset(status, 0, 0x103C);
    status[0] = standin_driver_running() != 0;
    EnterCriticalSection(&machine_lock);
    const uint32_t code = machine_failure("PktmonGetStatus");
    LeaveCriticalSection(&machine_lock);
    return code;
}

uint32_t WINAPI standin_PktmonAddFilter(const uint8_t *filter)
{
    machine_note_bytes("PktmonAddFilter", filter, 200);
    return 0;
}

uint32_t WINAPI standin_PktmonRemoveAllFilters(void)
{
    machine_note("PktmonRemoveAllFilters");
    return 0;
}

uint32_t WINAPI standin_PktmonUnload(void)
{
    machine_note("PktmonUnload");
    return 0;
}
