#include "sessions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER_HEADER 72
#define LOOK 200000000 /* ns between two looks whether another process ended a session */

struct session *all_sessions[MOST_SESSIONS];
static uint64_t generation;

/* ---- kept on the disk, for other processes: a file per session, named after it ---- */

static bool session_file(const wchar_t *name, wchar_t *path)
{
    wchar_t file[NAME_LENGTH + 16] = L"session-";
    size_t at = wcslen(file);
    for (; *name && at < NAME_LENGTH; name++)
        file[at++] = iswalnum(*name) || *name == L'-' ? towlower(*name) : L'_';
    file[at] = 0;
    return machine_file(file, path);
}

static bool file_there(const wchar_t *path)
{
    return GetFileAttributesW(path) != INVALID_FILE_ATTRIBUTES;
}

static void keep_file(const wchar_t *name, const wchar_t *log_file)
{
    wchar_t path[MAX_PATH];
    FILE *file = session_file(name, path) ? _wfopen(path, L"wb") : NULL;
    if (file == NULL)
        return;
    fwrite(name, sizeof(wchar_t), wcslen(name) + 1, file);
    fwrite(log_file, sizeof(wchar_t), wcslen(log_file) + 1, file);
    fclose(file);
}

/* What stands in a session's file: its name and that of its log file, each with a zero at its end. */
static bool read_kept(const wchar_t *path, struct elsewhere *into)
{
    static wchar_t room[2 * NAME_LENGTH + 2];
    memset(room, 0, sizeof room);
    memset(into, 0, sizeof *into);
    FILE *file = _wfopen(path, L"rb");
    if (file == NULL)
        return false;
    const size_t read = fread(room, sizeof *room, sizeof room / sizeof *room - 1, file);
    fclose(file);
    const size_t length = wcslen(room);
    wcsncpy(into->name, room, NAME_LENGTH);
    if (length + 1 < read)
        wcsncpy(into->file, room + length + 1, NAME_LENGTH);
    return length > 0;
}

int sessions_elsewhere(struct elsewhere *names, int most)
{
    wchar_t pattern[MAX_PATH], path[MAX_PATH];
    WIN32_FIND_DATAW found;
    int count = 0;
    if (!machine_file(L"session-*", pattern))
        return 0;
    HANDLE search = FindFirstFileW(pattern, &found);
    if (search == INVALID_HANDLE_VALUE)
        return 0;
    do {
        if (count < most && machine_file(found.cFileName, path) && read_kept(path, &names[count]) &&
            session_named(names[count].name) == NULL)
            count++;
    } while (FindNextFileW(search, &found));
    FindClose(search);
    return count;
}

/* A session that a program of Windows has, writing into a file; NULL: it has ended. */
__declspec(dllexport) void standin_session(const wchar_t *name, const wchar_t *log_file)
{
    EnterCriticalSection(&machine_lock);
    if (log_file != NULL)
        keep_file(name, log_file);
    else
        session_end_elsewhere(name);
    LeaveCriticalSection(&machine_lock);
}

bool session_end_elsewhere(const wchar_t *name)
{
    wchar_t path[MAX_PATH];
    return session_file(name, path) && _wremove(path) == 0;
}

/* ---- sessions ---- */

struct session *session_named(const wchar_t *name)
{
    for (int each = 0; each < MOST_SESSIONS; each++)
        if (all_sessions[each] && all_sessions[each]->running && _wcsicmp(all_sessions[each]->name, name) == 0)
            return all_sessions[each];
    return NULL;
}

struct session *session_of(uint64_t handle)
{
    for (int each = 0; each < MOST_SESSIONS; each++)
        if (all_sessions[each] && all_sessions[each]->running && all_sessions[each]->handle == handle)
            return all_sessions[each];
    return NULL;
}

struct session *session_start(const wchar_t *name, const EVENT_TRACE_PROPERTIES *wanted)
{
    for (int each = 0; each < MOST_SESSIONS; each++) {
        if (all_sessions[each] != NULL)
            continue;
        struct session *session = calloc(1, sizeof *session);
        if (session == NULL)
            return NULL;
        wcsncpy(session->name, name, NAME_LENGTH);
        session->number = (uint16_t)(each + 1);
        session->handle = ++generation << 16 | session->number;
        session->running = true;
        session->end = &session->first;
        session->flushed = session->looked = machine_real();
        session->properties = *wanted;
        if (session->properties.BufferSize == 0 || session->properties.BufferSize > 1024)
            session->properties.BufferSize = session->properties.BufferSize ? 1024 : 64;
        const uint32_t least = 2 * (machine_play.processors ? machine_play.processors : 1);
        if (session->properties.MinimumBuffers < least)
            session->properties.MinimumBuffers = least;
        if (session->properties.MaximumBuffers < session->properties.MinimumBuffers)
            session->properties.MaximumBuffers = session->properties.MinimumBuffers + 20;
        if (machine_options.buffers)
            session->properties.MaximumBuffers = (ULONG)machine_options.buffers;
        all_sessions[each] = session;
        machine_counts.sessions++;
        keep_file(name, L"");
        return session;
    }
    return NULL;
}

static void free_buffer(struct buffer *buffer)
{
    free(buffer->entries);
    free(buffer);
}

void session_let_go(struct session *session)
{
    if (session->running || session->readers > 0)
        return;
    struct buffer *buffer;
    while ((buffer = session_take(session)) != NULL)
        free_buffer(buffer);
    for (int each = 0; each < MOST_SESSIONS; each++)
        if (all_sessions[each] == session)
            all_sessions[each] = NULL;
    machine_counts.sessions--;
    free(session);
}

void session_stop(struct session *session)
{
    wchar_t path[MAX_PATH];
    session_flush(session);
    session->running = false;
    if (session_file(session->name, path))
        _wremove(path);
    WakeAllConditionVariable(&machine_changed);
    session_let_go(session);
}

void sessions_tend(void)
{
    const int64_t now = machine_real();
    wchar_t path[MAX_PATH];
    for (int each = 0; each < MOST_SESSIONS; each++) {
        struct session *session = all_sessions[each];
        if (session == NULL || !session->running)
            continue;
        if (machine_options.flush_timer && now - session->flushed > machine_options.flush_timer * 1000000)
            session_flush(session);
        if (now - session->looked > LOOK) {
            session->looked = now;
            if (session_file(session->name, path) && !file_there(path))
                session_stop(session);
        }
    }
}

/* ---- buffers ---- */

static size_t buffer_bytes(const struct session *session)
{
    return machine_options.buffer_bytes ? (size_t)machine_options.buffer_bytes : session->properties.BufferSize * (size_t)1024;
}

static void put(struct buffer *buffer, const struct event *event, int64_t stamp)
{
    if (buffer->count == buffer->room) {
        const size_t room = buffer->room ? 2 * buffer->room : 64;
        struct entry *entries = realloc(buffer->entries, room * sizeof *entries);
        if (entries == NULL)
            abort();
        buffer->entries = entries;
        buffer->room = room;
    }
    buffer->entries[buffer->count++] = (struct entry){event, stamp};
}

/* A processor's buffer is full, or flushed: it is the consumer's, unless it is lost. */
static void queue(struct session *session, uint32_t processor)
{
    struct buffer *buffer = session->current[processor];
    session->current[processor] = NULL;
    if (buffer == NULL)
        return;
    const int64_t number = (int64_t)session->properties.BuffersWritten + session->properties.RealTimeBuffersLost + 1;
    if (machine_options.lose_buffer && number == machine_options.lose_buffer) {
        session->properties.RealTimeBuffersLost++;
        machine_counts.lost_buffers++;
        for (size_t each = 0; each < buffer->count; each++)
            machine_counts.in_lost_buffers += buffer->entries[each].event != NULL;
        session->pending_loss = 33;
        session->in_use--;
        free_buffer(buffer);
        return;
    }
    session->properties.BuffersWritten++;
    buffer->next = NULL;
    *session->end = buffer;
    session->end = &buffer->next;
    WakeAllConditionVariable(&machine_changed);
}

void session_flush(struct session *session)
{
    session->flushed = machine_real();
    for (uint32_t each = 0; each < MOST_PROCESSORS; each++)
        queue(session, machine_options.reverse ? MOST_PROCESSORS - 1 - each : each);
}

struct buffer *session_take(struct session *session)
{
    struct buffer *buffer = session->first;
    if (buffer != NULL && (session->first = buffer->next) == NULL)
        session->end = &session->first;
    return buffer;
}

void session_give_back(struct session *session, struct buffer *buffer)
{
    session->in_use--;
    free_buffer(buffer);
    WakeAllConditionVariable(&machine_changed);
}

/* ---- events ---- */

static bool matches(const struct enabled *enabled, const EVENT_HEADER *header)
{
    const EVENT_DESCRIPTOR *descriptor = &header->EventDescriptor;
    if (!enabled->on || !IsEqualGUID(&enabled->provider, &header->ProviderId))
        return false;
    if (enabled->level && descriptor->Level > enabled->level)
        return false;
    if (descriptor->Keyword != 0 && ((enabled->any && !(descriptor->Keyword & enabled->any)) ||
                                     (descriptor->Keyword & enabled->all) != enabled->all))
        return false;
    if (!enabled->by_id)
        return true;
    for (uint16_t each = 0; each < enabled->count; each++)
        if (enabled->ids[each] == descriptor->Id)
            return true;
    return false;
}

static bool wants(const struct session *session, const struct event *event)
{
    const EVENT_HEADER *header = (const EVENT_HEADER *)event->record;
    for (int each = 0; each < MOST_ENABLED; each++)
        if (matches(&session->enabled[each], header))
            return true;
    return false;
}

bool sessions_want(const GUID *provider)
{
    for (int each = 0; each < MOST_SESSIONS; each++)
        for (int place = 0; all_sessions[each] && all_sessions[each]->running && place < MOST_ENABLED; place++)
            if (all_sessions[each]->enabled[place].on && IsEqualGUID(&all_sessions[each]->enabled[place].provider, provider))
                return true;
    return false;
}

/* Whether an event finds room; full buffers are queued on the way. */
static bool room_for(struct session *session, uint32_t processor, size_t bytes)
{
    struct buffer *buffer = session->current[processor];
    if (buffer != NULL && buffer->bytes + bytes > buffer_bytes(session))
        queue(session, processor);
    if (session->current[processor] != NULL)
        return true;
    if (session->in_use >= session->properties.MaximumBuffers && session->first == NULL)
        session_flush(session);
    if (session->in_use >= session->properties.MaximumBuffers)
        return false;
    buffer = calloc(1, sizeof *buffer);
    if (buffer == NULL)
        abort();
    buffer->bytes = BUFFER_HEADER;
    session->current[processor] = buffer;
    session->in_use++;
    return true;
}

static void lose(struct session *session)
{
    session->properties.EventsLost++;
    session->pending_loss = 32;
    machine_counts.lost++;
}

bool sessions_write(const struct event *event, int64_t stamp)
{
    const size_t bytes = (event->size + 7u) & ~(size_t)7;
    struct session *wanting[MOST_SESSIONS];
    bool room[MOST_SESSIONS];
    int count = 0;
    for (int each = 0; each < MOST_SESSIONS; each++) {
        struct session *session = all_sessions[each];
        if (session == NULL || !session->running || !wants(session, event))
            continue;
        room[count] = bytes + BUFFER_HEADER <= buffer_bytes(session) && room_for(session, event->processor, bytes);
        if (!room[count] && machine_options.lossless)
            return false;
        wanting[count++] = session;
    }
    for (int each = 0; each < count; each++) {
        struct session *session = wanting[each];
        machine_counts.played++;
        session->attempts++;
        if (!room[each] || (machine_options.lose_every && session->attempts % machine_options.lose_every == 0)) {
            lose(session);
            continue;
        }
        struct buffer *buffer = session->current[event->processor];
        if (session->pending_loss) {
            put(buffer, NULL, session->pending_loss);
            session->pending_loss = 0;
        }
        put(buffer, event, stamp);
        buffer->bytes += bytes;
    }
    return true;
}
