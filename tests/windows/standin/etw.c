/* The exports of advapi32 for trace sessions, on the sessions of sessions.c. */
#include "sessions.h"

#include <stdlib.h>
#include <string.h>

#define MOST_CONSUMERS 64
#define MOST_ITEMS 64

struct consumer {
    uint64_t handle;
    EVENT_TRACE_LOGFILEW logfile;
    wchar_t name[NAME_LENGTH + 1];
    bool processing, closed;
};

static struct consumer *consumers[MOST_CONSUMERS];
static uint64_t consumer_generation;

static const GUID trace_guid = {0x68fdd900, 0x4a3e, 0x11d1, {0x84, 0xf4, 0, 0, 0xf8, 0x04, 0x64, 0xe3}};
static const GUID lost_guid = {0x6a399ae0, 0x4bc6, 0x4de9, {0x87, 0x0b, 0x36, 0x57, 0xf8, 0x94, 0x7e, 0x7e}};

/* ---- control ---- */

static bool put_text(EVENT_TRACE_PROPERTIES *properties, ULONG at, const wchar_t *text)
{
    const ULONG size = properties->Wnode.BufferSize;
    const size_t bytes = (wcslen(text) + 1) * sizeof *text;
    if (at < sizeof *properties || at > size || size - at < bytes)
        return false;
    memcpy((uint8_t *)properties + at, text, bytes);
    return true;
}

/* A session as its properties say, with its names; 234 where they find no room. */
static ULONG tell(EVENT_TRACE_PROPERTIES *properties, const EVENT_TRACE_PROPERTIES *known, const wchar_t *name,
                  const wchar_t *log_file, uint64_t handle)
{
    const ULONG at = properties->LoggerNameOffset, file = properties->LogFileNameOffset;
    const WNODE_HEADER wnode = properties->Wnode;
    *properties = *known;
    properties->Wnode = wnode;
    properties->Wnode.HistoricalContext = handle;
    properties->LoggerNameOffset = at;
    properties->LogFileNameOffset = file;
    const bool room = (at == 0 || put_text(properties, at, name)) && (file == 0 || put_text(properties, file, log_file));
    return room ? ERROR_SUCCESS : ERROR_MORE_DATA;
}

static ULONG start_trace(TRACEHANDLE *handle, const wchar_t *name, EVENT_TRACE_PROPERTIES *properties)
{
    struct elsewhere *elsewhere;
    const ULONG code = machine_failure("StartTraceW");
    *handle = 0;
    if (code)
        return code;
    if (name == NULL || properties == NULL || *name == 0 || wcslen(name) > NAME_LENGTH)
        return ERROR_INVALID_PARAMETER;
    const ULONG size = properties->Wnode.BufferSize, at = properties->LoggerNameOffset;
    if (size < sizeof *properties || size - sizeof *properties < (wcslen(name) + 1) * sizeof *name)
        return ERROR_BAD_LENGTH;
    if (at < sizeof *properties || !(properties->Wnode.Flags & WNODE_FLAG_TRACED_GUID) || properties->LogFileNameOffset != 0 ||
        !(properties->LogFileMode & EVENT_TRACE_REAL_TIME_MODE) || properties->Wnode.ClientContext != 1)
        return ERROR_INVALID_PARAMETER;
    if (session_named(name))
        return ERROR_ALREADY_EXISTS;
    elsewhere = calloc(MOST_SESSIONS, sizeof *elsewhere);
    const int others = elsewhere ? sessions_elsewhere(elsewhere, MOST_SESSIONS) : 0;
    bool taken = false;
    for (int each = 0; each < others; each++)
        taken = taken || _wcsicmp(elsewhere[each].name, name) == 0;
    free(elsewhere);
    if (taken)
        return ERROR_ALREADY_EXISTS;
    if (machine_counts.sessions + others >= machine_options.most_sessions)
        return ERROR_NO_SYSTEM_RESOURCES;
    struct session *session = session_start(name, properties);
    if (session == NULL)
        return ERROR_NO_SYSTEM_RESOURCES;
    *handle = session->handle;
    return tell(properties, &session->properties, session->name, L"", session->handle);
}

ULONG WINAPI standin_StartTraceW(TRACEHANDLE *handle, const wchar_t *name, EVENT_TRACE_PROPERTIES *properties)
{
    EnterCriticalSection(&machine_lock);
    const ULONG code = start_trace(handle, name, properties);
    LeaveCriticalSection(&machine_lock);
    return code;
}

static ULONG control_trace(TRACEHANDLE handle, const wchar_t *name, EVENT_TRACE_PROPERTIES *properties, ULONG control)
{
    static const char *const words[] = {"ControlTraceW QUERY", "ControlTraceW STOP", "ControlTraceW UPDATE", "ControlTraceW FLUSH"};
    if (control > 3 || properties == NULL || properties->Wnode.BufferSize < sizeof *properties)
        return ERROR_INVALID_PARAMETER;
    const ULONG code = machine_failure(words[control]);
    if (code)
        return code;
    struct session *session = name ? session_named(name) : session_of(handle);
    if (session == NULL && name != NULL && control == EVENT_TRACE_CONTROL_STOP && session_end_elsewhere(name)) {
        const EVENT_TRACE_PROPERTIES nothing = {.LogFileMode = EVENT_TRACE_REAL_TIME_MODE};
        return tell(properties, &nothing, name, L"", 0);
    }
    if (session == NULL)
        return ERROR_WMI_INSTANCE_NOT_FOUND;
    if (control == EVENT_TRACE_CONTROL_FLUSH || control == EVENT_TRACE_CONTROL_STOP)
        session_flush(session);
    session->properties.NumberOfBuffers = session->in_use;
    const ULONG told = tell(properties, &session->properties, session->name, L"", session->handle);
    if (control == EVENT_TRACE_CONTROL_STOP)
        session_stop(session);
    return told;
}

ULONG WINAPI standin_ControlTraceW(TRACEHANDLE handle, const wchar_t *name, EVENT_TRACE_PROPERTIES *properties, ULONG control)
{
    EnterCriticalSection(&machine_lock);
    const ULONG code = control_trace(handle, name, properties, control);
    LeaveCriticalSection(&machine_lock);
    return code;
}

ULONG WINAPI standin_QueryAllTracesW(EVENT_TRACE_PROPERTIES **properties, ULONG capacity, ULONG *count)
{
    const EVENT_TRACE_PROPERTIES other = {.LogFileMode = EVENT_TRACE_REAL_TIME_MODE};
    struct elsewhere *elsewhere = calloc(MOST_SESSIONS, sizeof *elsewhere);
    EnterCriticalSection(&machine_lock);
    ULONG code = machine_failure("QueryAllTracesW");
    *count = 0;
    for (int each = 0; code == 0 && each < MOST_SESSIONS; each++) {
        const struct session *session = all_sessions[each];
        if (session == NULL || !session->running)
            continue;
        if (*count < capacity)
            tell(properties[*count], &session->properties, session->name, L"", session->handle);
        ++*count;
    }
    const int others = elsewhere && code == 0 ? sessions_elsewhere(elsewhere, MOST_SESSIONS) : 0;
    for (int each = 0; each < others; each++, ++*count)
        if (*count < capacity)
            tell(properties[*count], &other, elsewhere[each].name, elsewhere[each].file, 0);
    LeaveCriticalSection(&machine_lock);
    free(elsewhere);
    if (code == 0 && *count > capacity)
        code = ERROR_MORE_DATA;
    return code;
}

/* ---- providers ---- */

struct filters { /* ENABLE_TRACE_PARAMETERS of version 2, which MinGW's header does not have whole */
    ULONG version, property, control_flags;
    GUID source;
    const EVENT_FILTER_DESCRIPTOR *descriptor;
    ULONG count;
};

static ULONG read_filter(struct enabled *enabled, const struct filters *given)
{
    if (given == NULL)
        return ERROR_SUCCESS;
    if (given->version < 1 || given->version > 2)
        return ERROR_INVALID_PARAMETER;
    const ULONG count = given->version == 2 ? given->count : given->descriptor != NULL;
    for (ULONG each = 0; each < count; each++) {
        const uint8_t *data = (const uint8_t *)(uintptr_t)given->descriptor[each].Ptr;
        const ULONG size = given->descriptor[each].Size;
        if (given->descriptor[each].Type != 0x80000200u) /* EVENT_FILTER_TYPE_EVENT_ID */
            return ERROR_INVALID_PARAMETER;
        if (size < 4 || !data[0])
            return ERROR_INVALID_PARAMETER;
        memcpy(&enabled->count, data + 2, 2);
        if (enabled->count > 64 || size < 4u + 2u * enabled->count)
            return ERROR_INVALID_PARAMETER;
        enabled->by_id = true;
        memcpy(enabled->ids, data + 4, 2u * enabled->count);
    }
    return ERROR_SUCCESS;
}

static ULONG enable_trace(TRACEHANDLE handle, const GUID *provider, ULONG control, UCHAR level, uint64_t any, uint64_t all,
                          const struct filters *parameters)
{
    const ULONG code = machine_failure(control == EVENT_CONTROL_CODE_ENABLE_PROVIDER ? "EnableTraceEx2 on" : "EnableTraceEx2 off");
    if (code)
        return code;
    struct session *session = session_of(handle);
    if (session == NULL)
        return ERROR_INVALID_HANDLE;
    struct enabled *place = NULL;
    for (int each = MOST_ENABLED - 1; each >= 0; each--)
        if (!session->enabled[each].on || IsEqualGUID(&session->enabled[each].provider, provider))
            place = place && place->on ? place : &session->enabled[each];
    if (place == NULL)
        return ERROR_NO_SYSTEM_RESOURCES;
    if (control == EVENT_CONTROL_CODE_ENABLE_PROVIDER) {
        struct enabled made = {.on = true, .provider = *provider, .level = level, .any = any, .all = all};
        const ULONG bad = read_filter(&made, parameters);
        if (bad)
            return bad;
        *place = made;
    } else if (control == EVENT_CONTROL_CODE_DISABLE_PROVIDER && place->on) {
        place->on = false;
    }
    WakeAllConditionVariable(&machine_changed);
    return ERROR_SUCCESS;
}

ULONG WINAPI standin_EnableTraceEx2(TRACEHANDLE handle, const GUID *provider, ULONG control, UCHAR level, ULONGLONG any,
                                    ULONGLONG all, ULONG timeout, const struct filters *parameters)
{
    (void)timeout;
    EnterCriticalSection(&machine_lock);
    const ULONG code = enable_trace(handle, provider, control, level, any, all, parameters);
    LeaveCriticalSection(&machine_lock);
    return code;
}

/* ---- consumers ---- */

static struct consumer **consumer_of(uint64_t handle)
{
    for (int each = 0; each < MOST_CONSUMERS; each++)
        if (consumers[each] && consumers[each]->handle == handle)
            return &consumers[each];
    return NULL;
}

TRACEHANDLE WINAPI standin_OpenTraceW(EVENT_TRACE_LOGFILEW *logfile)
{
    TRACEHANDLE made = INVALID_PROCESSTRACE_HANDLE;
    EnterCriticalSection(&machine_lock);
    ULONG code = machine_failure("OpenTraceW");
    if (code == 0 && (logfile->LoggerName == NULL || logfile->LogFileName != NULL ||
                      !(logfile->ProcessTraceMode & PROCESS_TRACE_MODE_REAL_TIME) ||
                      !(logfile->ProcessTraceMode & PROCESS_TRACE_MODE_EVENT_RECORD)))
        code = ERROR_INVALID_PARAMETER;
    for (int each = 0; code == 0 && made == INVALID_PROCESSTRACE_HANDLE && each < MOST_CONSUMERS; each++) {
        if (consumers[each] != NULL)
            continue;
        struct consumer *consumer = calloc(1, sizeof *consumer);
        if (consumer == NULL)
            break;
        LARGE_INTEGER real;
        QueryPerformanceFrequency(&real);
        logfile->LogfileHeader.PerfFreq.QuadPart = machine_play.frequency ? machine_play.frequency : real.QuadPart;
        logfile->LogfileHeader.ReservedFlags = 1;
        logfile->LogfileHeader.PointerSize = sizeof(void *);
        logfile->LogfileHeader.NumberOfProcessors = machine_play.processors;
        consumer->logfile = *logfile;
        wcsncpy(consumer->name, logfile->LoggerName, NAME_LENGTH);
        consumer->logfile.LoggerName = consumer->name;
        consumer->handle = made = ++consumer_generation << 8 | (uint64_t)each;
        consumers[each] = consumer;
        machine_counts.consumers++;
    }
    LeaveCriticalSection(&machine_lock);
    SetLastError(code);
    return made;
}

/* Calls back with an event, whose bytes are there only as long as the call. */
static void call_back(const EVENT_TRACE_LOGFILEW *logfile, uint16_t session, const struct entry *entry, uint8_t *scratch)
{
    const struct event *event = entry->event;
    EVENT_HEADER_EXTENDED_DATA_ITEM items[MOST_ITEMS];
    EVENT_RECORD record;
    memset(&record, 0, sizeof record);
    memset(items, 0, sizeof items);
    memcpy(scratch, event->record, event->size);
    memcpy(&record.EventHeader, scratch, sizeof record.EventHeader);
    record.EventHeader.TimeStamp.QuadPart = entry->stamp;
    if (!(logfile->ProcessTraceMode & PROCESS_TRACE_MODE_RAW_TIMESTAMP))
        record.EventHeader.TimeStamp.QuadPart = play_filetime(&machine_play, entry->stamp);
    record.EventHeader.HeaderType = 0; /* a callback never sees the header types of a file */
    record.BufferContext.ProcessorNumber = (UCHAR)event->processor;
    record.BufferContext.LoggerId = session;
    /* items lie inline: stride, type, linkage and size, each u16, then the data */
    size_t at = sizeof record.EventHeader;
    bool linked = record.EventHeader.Flags & EVENT_HEADER_FLAG_EXTENDED_INFO;
    while (linked && at < event->payload_at && record.ExtendedDataCount < MOST_ITEMS) {
        uint16_t head[4];
        memcpy(head, scratch + at, sizeof head);
        EVENT_HEADER_EXTENDED_DATA_ITEM *item = &items[record.ExtendedDataCount++];
        item->ExtType = head[1];
        item->Linkage = linked = head[2] & 1;
        item->DataSize = head[3];
        item->DataPtr = (ULONGLONG)(uintptr_t)(scratch + at + 8);
        at += (head[0] + 7u) & ~7u;
    }
    record.ExtendedData = record.ExtendedDataCount ? items : NULL;
    record.UserDataLength = (USHORT)(event->size - event->payload_at);
    record.UserData = record.UserDataLength ? scratch + event->payload_at : NULL;
    record.UserContext = logfile->Context;
    logfile->EventRecordCallback(&record);
    memset(scratch, 0xDD, event->size);
}

/* An event of ETW itself: the header of the session, or that something was lost. */
static void call_back_own(const EVENT_TRACE_LOGFILEW *logfile, uint16_t session, const GUID *guid, UCHAR opcode, int64_t stamp)
{
    uint8_t payload[280] = {0};
    EVENT_RECORD record;
    memset(&record, 0, sizeof record);
    record.EventHeader.Flags = EVENT_HEADER_FLAG_CLASSIC_HEADER | EVENT_HEADER_FLAG_64_BIT_HEADER;
    record.EventHeader.TimeStamp.QuadPart = stamp;
    record.EventHeader.ProviderId = *guid;
    record.EventHeader.EventDescriptor.Opcode = opcode;
    record.BufferContext.LoggerId = session;
    record.UserContext = logfile->Context;
    if (opcode == 0) {
        record.UserData = payload;
        record.UserDataLength = sizeof payload;
    }
    logfile->EventRecordCallback(&record);
}

static bool deliver(struct consumer *consumer, uint16_t session, const struct buffer *buffer, uint8_t *scratch)
{
    EVENT_TRACE_LOGFILEW *logfile = &consumer->logfile;
    int64_t stamp = 0, given = 0;
    const int64_t began = machine_real();
    for (size_t each = 0; each < buffer->count; each++) {
        const struct entry *entry = &buffer->entries[each];
        if (entry->event == NULL) {
            const size_t next = each + 1 < buffer->count ? each + 1 : each;
            call_back_own(logfile, session, &lost_guid, (UCHAR)entry->stamp, buffer->entries[next].stamp);
            continue;
        }
        call_back(logfile, session, entry, scratch);
        stamp = entry->stamp;
        given++;
    }
    logfile->BuffersRead++;
    logfile->CurrentTime = play_filetime(&machine_play, stamp);
    logfile->BufferSize = (ULONG)buffer->bytes;
    logfile->Filled = (ULONG)buffer->bytes;
    const int64_t took = machine_real() - began;
    EnterCriticalSection(&machine_lock);
    machine_counts.delivered += given;
    machine_counts.callback_ns += took;
    LeaveCriticalSection(&machine_lock);
    if (machine_options.delay)
        Sleep((DWORD)((machine_options.delay + 999) / 1000));
    return logfile->BufferCallback == NULL || logfile->BufferCallback(logfile);
}

struct stale {
    EVENT_TRACE_LOGFILEW logfile;
    int64_t calls;
};

/* Calls back although everything is over. */
static DWORD WINAPI call_late(void *given)
{
    struct stale *stale = given;
    static const uint8_t payload[64];
    for (int64_t each = 0; each < stale->calls; each++) {
        EVENT_RECORD record;
        memset(&record, 0, sizeof record);
        record.EventHeader.TimeStamp.QuadPart = each;
        record.EventHeader.EventDescriptor.Id = 160;
        record.UserData = (void *)payload;
        record.UserDataLength = sizeof payload;
        record.UserContext = stale->logfile.Context;
        stale->logfile.EventRecordCallback(&record);
        if (stale->logfile.BufferCallback && each % 10 == 0)
            stale->logfile.BufferCallback(&stale->logfile);
        EnterCriticalSection(&machine_lock);
        machine_counts.late++;
        LeaveCriticalSection(&machine_lock);
        if (each % 100 == 0)
            Sleep(1);
    }
    free(stale);
    return 0;
}

static void start_late_calls(const struct consumer *consumer)
{
    struct stale *stale = machine_options.late_calls ? calloc(1, sizeof *stale) : NULL;
    if (stale == NULL)
        return;
    stale->logfile = consumer->logfile;
    stale->logfile.LoggerName = NULL;
    stale->calls = machine_options.late_calls;
    HANDLE thread = CreateThread(NULL, 0, call_late, stale, 0, NULL);
    if (thread)
        CloseHandle(thread);
    else
        free(stale);
}

ULONG WINAPI standin_ProcessTrace(const TRACEHANDLE *handles, ULONG count, const FILETIME *start, const FILETIME *end)
{
    (void)start;
    (void)end;
    EnterCriticalSection(&machine_lock);
    ULONG code = machine_failure("ProcessTrace");
    struct consumer **place = count == 1 ? consumer_of(handles[0]) : NULL;
    if (code == 0 && (place == NULL || (*place)->closed))
        code = ERROR_INVALID_HANDLE;
    struct session *session = code == 0 ? session_named((*place)->name) : NULL;
    if (code == 0 && session == NULL)
        code = ERROR_WMI_INSTANCE_NOT_FOUND;
    uint8_t *scratch = code == 0 ? malloc(0x10000) : NULL;
    if (code != 0 || scratch == NULL) {
        LeaveCriticalSection(&machine_lock);
        return code ? code : ERROR_OUTOFMEMORY;
    }
    struct consumer *consumer = *place;
    const uint16_t number = session->number;
    consumer->processing = true;
    session->readers++;
    const int64_t now = machine_clock();
    if (machine_options.header) {
        LeaveCriticalSection(&machine_lock);
        call_back_own(&consumer->logfile, number, &trace_guid, 0, now);
        EnterCriticalSection(&machine_lock);
    }
    bool go_on = true;
    while (go_on) {
        struct buffer *buffer = session_take(session);
        if (buffer == NULL) {
            if (!session->running || consumer->closed)
                break;
            SleepConditionVariableCS(&machine_changed, &machine_lock, 50);
            continue;
        }
        LeaveCriticalSection(&machine_lock);
        go_on = deliver(consumer, number, buffer, scratch);
        EnterCriticalSection(&machine_lock);
        session_give_back(session, buffer);
    }
    free(scratch);
    session->readers--;
    session_let_go(session);
    if (machine_options.hang) {
        const DWORD time = (DWORD)machine_options.hang;
        LeaveCriticalSection(&machine_lock);
        Sleep(time);
        EnterCriticalSection(&machine_lock);
    }
    consumer->processing = false;
    if (consumer->closed) {
        start_late_calls(consumer);
        *consumer_of(consumer->handle) = NULL;
        machine_counts.consumers--;
        free(consumer);
    }
    LeaveCriticalSection(&machine_lock);
    return go_on ? ERROR_SUCCESS : ERROR_CANCELLED;
}

ULONG WINAPI standin_CloseTrace(TRACEHANDLE handle)
{
    EnterCriticalSection(&machine_lock);
    ULONG code = ERROR_SUCCESS;
    struct consumer **place = consumer_of(handle);
    if (place == NULL || (*place)->closed) {
        code = ERROR_INVALID_HANDLE;
    } else if ((*place)->processing) {
        (*place)->closed = true;
        code = ERROR_CTX_CLOSE_PENDING;
        WakeAllConditionVariable(&machine_changed);
    } else {
        start_late_calls(*place);
        free(*place);
        *place = NULL;
        machine_counts.consumers--;
    }
    LeaveCriticalSection(&machine_lock);
    return code;
}
