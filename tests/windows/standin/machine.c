#include "machine.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 256     /* events between two chances for others */
#define LEAD 1        /* s that the clock begins before the first event */
#define FAILURES 16
#define NOTES 65536
#define LAST_WORDS 2000000000 /* ns that a driver that stops waits for room */

CRITICAL_SECTION machine_lock;
CONDITION_VARIABLE machine_changed;
struct play machine_play;
struct options machine_options;
struct counts machine_counts;
wchar_t machine_folder[MAX_PATH];

static const struct options usual = {
#define OPTION(name, value) .name = value,
    ALL_OPTIONS(OPTION)
#undef OPTION
};

static struct {
    char function[40];
    uint32_t code;
    int64_t after, times;
} failures[FAILURES];

static struct {
    bool loaded, quit;
    HANDLE thread;
    size_t next;
    int64_t round, shift;             /* of a play that is repeated */
    int64_t anchor, anchor_real, most; /* the clock: ticks at a real time, and the latest reading */
    int64_t ready_since, rated;        /* real ns; 0: not ready. Events since then */
} world;

static char notes[NOTES];
static size_t noted;
static DWORD counter_slot; /* per thread: the tick of its last reading, where that was the time of day */
static DWORD tick_slot;

int64_t machine_real(void)
{
    LARGE_INTEGER now, frequency;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&frequency);
    return now.QuadPart / frequency.QuadPart * 1000000000 + now.QuadPart % frequency.QuadPart * 1000000000 / frequency.QuadPart;
}

/* ---- the clock ---- */

static int64_t stamp_at(size_t place)
{
    return machine_play.event[place]->stamp + world.shift;
}

static int64_t free_clock(void)
{
    const double speed = machine_options.pace ? (double)machine_options.pace / 100 : 1;
    const double since = (double)(machine_real() - world.anchor_real) * 1e-9 * speed;
    return world.anchor + (int64_t)(since * (double)machine_play.frequency);
}

int64_t machine_clock(void)
{
    if (!world.loaded) {
        LARGE_INTEGER now;
        QueryPerformanceCounter(&now);
        return now.QuadPart;
    }
    int64_t now = free_clock();
    if (world.next < machine_play.events && (int64_t)world.next >= machine_options.old && now > stamp_at(world.next))
        now = stamp_at(world.next);
    else if ((int64_t)world.next < machine_options.old && machine_options.old < (int64_t)machine_play.events &&
             now > stamp_at((size_t)machine_options.old))
        now = stamp_at((size_t)machine_options.old);
    if (now > world.most)
        world.most = now;
    return world.most;
}

static void set_clock(int64_t ticks)
{
    world.anchor = ticks;
    world.anchor_real = machine_real();
}

/* The tick right after a reading of the time of day in the same thread is the same: so a pair that is read together is exact. */
BOOL WINAPI standin_counter(LARGE_INTEGER *value)
{
    if (TlsGetValue(counter_slot) != NULL) {
        TlsSetValue(counter_slot, NULL);
        value->QuadPart = (int64_t)(intptr_t)TlsGetValue(tick_slot);
        return TRUE;
    }
    EnterCriticalSection(&machine_lock);
    value->QuadPart = machine_clock();
    LeaveCriticalSection(&machine_lock);
    TlsSetValue(tick_slot, (void *)(intptr_t)value->QuadPart);
    return TRUE;
}

BOOL WINAPI standin_frequency(LARGE_INTEGER *value)
{
    if (!world.loaded)
        return QueryPerformanceFrequency(value);
    value->QuadPart = machine_play.frequency;
    return TRUE;
}

void WINAPI standin_time_of_day(FILETIME *time)
{
    if (!world.loaded) {
        GetSystemTimePreciseAsFileTime(time);
        return;
    }
    LARGE_INTEGER now = {.QuadPart = (int64_t)(intptr_t)TlsGetValue(tick_slot)};
    if (now.QuadPart == 0)
        standin_counter(&now);
    const int64_t filetime = play_filetime(&machine_play, now.QuadPart);
    time->dwLowDateTime = (DWORD)filetime;
    time->dwHighDateTime = (DWORD)(filetime >> 32);
    TlsSetValue(counter_slot, (void *)1);
}

/* ---- what is to fail ---- */

__declspec(dllexport) void standin_fail(const char *function, uint32_t code, int64_t after, int64_t times)
{
    EnterCriticalSection(&machine_lock);
    for (int each = 0; each < FAILURES; each++)
        if (failures[each].times == 0) {
            snprintf(failures[each].function, sizeof failures[each].function, "%s", function);
            failures[each].code = code;
            failures[each].after = after;
            failures[each].times = times;
            break;
        }
    LeaveCriticalSection(&machine_lock);
}

uint32_t machine_failure(const char *function)
{
    for (int each = 0; each < FAILURES; each++) {
        if (failures[each].times == 0 || strcmp(failures[each].function, function) != 0)
            continue;
        if (failures[each].after > 0) {
            failures[each].after--;
            continue;
        }
        failures[each].times--;
        return failures[each].code;
    }
    return 0;
}

/* ---- what was asked for ---- */

void machine_note(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    EnterCriticalSection(&machine_lock);
    const size_t room = sizeof notes - noted;
    const int length = vsnprintf(notes + noted, room, format, arguments);
    if (length >= 0 && (size_t)length + 1 < room) {
        noted += (size_t)length;
        notes[noted++] = '\n';
    }
    notes[noted] = 0;
    LeaveCriticalSection(&machine_lock);
    va_end(arguments);
}

void machine_note_bytes(const char *what, const uint8_t *bytes, size_t size)
{
    char hex[2 * 256 + 1] = "";
    for (size_t each = 0; each < size && each < 256; each++)
        snprintf(hex + 2 * each, 3, "%02x", bytes[each]);
    machine_note("%s %s", what, hex);
}

/* The lines, which are forgotten then. */
__declspec(dllexport) void standin_notes(char *into, size_t room)
{
    EnterCriticalSection(&machine_lock);
    snprintf(into, room, "%s", notes);
    noted = 0;
    notes[0] = 0;
    LeaveCriticalSection(&machine_lock);
}

/* ---- the play ---- */

static bool ready(void)
{
    bool all = machine_play.tracks > 0;
    for (uint32_t each = 0; each < machine_play.tracks; each++)
        all = all && sessions_want(&machine_play.track[each].provider) &&
              (!machine_play.track[each].driver || (machine_counts.driver && machine_counts.starts >= machine_options.starts));
    return all;
}

/* Whether the next event is due. */
static bool due(int64_t *wait)
{
    const int64_t now = machine_real();
    *wait = 1;
    if (world.ready_since == 0) {
        world.ready_since = now;
        world.rated = 0;
    }
    const int64_t since = now - world.ready_since - machine_options.hold * 1000000;
    if (since < 0)
        return false;
    if (machine_options.rate && world.rated * 1000000000 / machine_options.rate > since)
        return false;
    if (!machine_options.pace || (int64_t)world.next < machine_options.old)
        return true;
    const int64_t free = free_clock(), stamp = stamp_at(world.next);
    if (free < stamp)
        return false;
    if (free - stamp > machine_play.frequency / 10) /* it was held up: go on from here, at the same pace */
        set_clock(stamp);
    return true;
}

static bool play_next(void)
{
    const struct event *event = machine_play.event[world.next];
    const int64_t stamp = stamp_at(world.next);
    if (!sessions_write(event, stamp))
        return false;
    world.rated++;
    if (!machine_options.pace && (int64_t)world.next >= machine_options.old)
        set_clock(stamp);
    world.next++;
    if (world.next == machine_play.events && world.round + 1 < machine_options.repeat) {
        const int64_t span = machine_play.event[world.next - 1]->stamp - machine_play.event[0]->stamp;
        world.round++;
        world.shift += span + machine_play.frequency / 1000;
        world.next = 0;
    }
    if (world.next == machine_play.events)
        machine_counts.ended = 1;
    return true;
}

static DWORD WINAPI live(void *unused)
{
    (void)unused;
    EnterCriticalSection(&machine_lock);
    while (!world.quit) {
        sessions_tend();
        int64_t wait = 10;
        if (machine_counts.ended || !ready()) {
            world.ready_since = 0;
        } else {
            int done = 0;
            while (done < BATCH && !machine_counts.ended && due(&wait) && play_next())
                done++;
            if (done == BATCH)
                wait = 0;
        }
        if (wait == 0) {
            LeaveCriticalSection(&machine_lock);
            Sleep(0);
            EnterCriticalSection(&machine_lock);
        } else {
            SleepConditionVariableCS(&machine_changed, &machine_lock, (DWORD)wait);
        }
    }
    LeaveCriticalSection(&machine_lock);
    return 0;
}

/* Reads a play file (NULL: no play, Windows' own clock), forgets what was, and begins. Sessions must have ended. */
__declspec(dllexport) int standin_load(const wchar_t *path)
{
    EnterCriticalSection(&machine_lock);
    world.quit = true;
    WakeAllConditionVariable(&machine_changed);
    LeaveCriticalSection(&machine_lock);
    if (world.thread != NULL) {
        WaitForSingleObject(world.thread, INFINITE);
        CloseHandle(world.thread);
    }
    play_free(&machine_play);
    memset(&world, 0, sizeof world);
    memset(failures, 0, sizeof failures);
    noted = 0;
    notes[0] = 0;
    memset(&machine_counts, 0, sizeof machine_counts);
    machine_options = usual;
    TlsSetValue(counter_slot, NULL);
    TlsSetValue(tick_slot, NULL);
    if (path != NULL) {
        if (!play_load(&machine_play, path))
            return 0;
        world.loaded = true;
        set_clock((machine_play.events ? machine_play.event[0]->stamp : machine_play.ticks) - LEAD * machine_play.frequency);
        machine_counts.ended = machine_play.events == 0;
    }
    world.most = INT64_MIN;
    world.thread = CreateThread(NULL, 0, live, NULL, 0, NULL);
    return 1;
}

__declspec(dllexport) int standin_option(const char *name, int64_t value)
{
    int known = 0;
    EnterCriticalSection(&machine_lock);
#define OPTION(each, unused)                                                                                                      \
    if (strcmp(name, #each) == 0) {                                                                                               \
        machine_options.each = value;                                                                                             \
        known = 1;                                                                                                                \
    }
    ALL_OPTIONS(OPTION)
#undef OPTION
    if (strcmp(name, "old") == 0 && value > 0 && value < (int64_t)machine_play.events)
        set_clock(machine_play.event[value - 1]->stamp);
    WakeAllConditionVariable(&machine_changed);
    LeaveCriticalSection(&machine_lock);
    return known;
}

__declspec(dllexport) int64_t standin_count(const char *name)
{
    int64_t value = -1;
    EnterCriticalSection(&machine_lock);
#define COUNT(each)                                                                                                               \
    if (strcmp(name, #each) == 0)                                                                                                 \
        value = machine_counts.each;
    ALL_COUNTS(COUNT)
#undef COUNT
    LeaveCriticalSection(&machine_lock);
    return value;
}

/* ---- what outlives a process ---- */

__declspec(dllexport) void standin_folder(const wchar_t *path)
{
    EnterCriticalSection(&machine_lock);
    wcsncpy(machine_folder, path, MAX_PATH - 1);
    LeaveCriticalSection(&machine_lock);
}

bool machine_file(const wchar_t *name, wchar_t *path)
{
    if (machine_folder[0] == 0)
        return false;
    return _snwprintf(path, MAX_PATH, L"%ls\\%ls", machine_folder, name) > 0;
}

/* ---- the driver of PktMon ---- */

__declspec(dllexport) int standin_driver_running(void)
{
    wchar_t path[MAX_PATH];
    EnterCriticalSection(&machine_lock);
    const bool elsewhere = machine_file(L"driver", path) && GetFileAttributesW(path) != INVALID_FILE_ATTRIBUTES;
    const int running = machine_counts.driver || elsewhere;
    LeaveCriticalSection(&machine_lock);
    return running;
}

/* 0, or the error that it was told to give. */
__declspec(dllexport) uint32_t standin_driver_start(void)
{
    wchar_t path[MAX_PATH];
    EnterCriticalSection(&machine_lock);
    const uint32_t code = machine_failure("driver_start");
    if (code == 0) {
        machine_counts.driver = 1;
        machine_counts.starts++;
        if (machine_file(L"driver", path)) {
            FILE *file = _wfopen(path, L"wb");
            if (file != NULL)
                fclose(file);
        }
        WakeAllConditionVariable(&machine_changed);
    }
    LeaveCriticalSection(&machine_lock);
    return code;
}

/* The driver's last words come, stamped with the time at which it says them. */
__declspec(dllexport) uint32_t standin_driver_stop(void)
{
    wchar_t path[MAX_PATH];
    EnterCriticalSection(&machine_lock);
    const uint32_t code = machine_failure("driver_stop");
    if (code == 0) {
        const bool ran = machine_counts.driver;
        machine_counts.driver = 0;
        if (machine_file(L"driver", path))
            _wremove(path);
        const int64_t limit = machine_real() + LAST_WORDS;
        for (size_t each = 0; ran && each < machine_play.lasts; each++)
            while (!sessions_write(machine_play.last[each], machine_clock()) && machine_real() < limit)
                SleepConditionVariableCS(&machine_changed, &machine_lock, 5);
    }
    LeaveCriticalSection(&machine_lock);
    return code;
}

BOOL WINAPI DllMain(HINSTANCE module, DWORD reason, void *reserved)
{
    (void)module;
    (void)reserved;
    if (reason == DLL_PROCESS_ATTACH) {
        InitializeCriticalSection(&machine_lock);
        InitializeConditionVariable(&machine_changed);
        counter_slot = TlsAlloc();
        tick_slot = TlsAlloc();
        machine_options = usual;
    }
    return TRUE;
}
