#include "rawsock.h"

#if defined(_WIN32)

#define WIN32_LEAN_AND_MEAN
#if !defined(_WIN32_WINNT)
#define _WIN32_WINNT 0x0601
#endif
#include <winsock2.h>
#include <ws2tcpip.h>
#include <mswsock.h>
#include <windows.h>

#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

#include "rawsock_record.h"

#define BATCH 128      /* completions taken at once */
#define CONTROL 512    /* bytes of ancillary data; all three items take 88 */
#define REST 100       /* ms until a receive that could not be posted is tried again */
#define TRIES 4        /* failures in a row, times the receives of the socket, until it counts as failed */
#define PAGE 4096u

#define STATUS_CUT 0x80000005u       /* STATUS_BUFFER_OVERFLOW */
#define STATUS_CANCELLED_ 0xC0000120u /* by CancelIoEx or closing */
#define STATUS_CLOSED 0x8000000Au    /* STATUS_HANDLES_CLOSED: what Wine says instead */

enum { KEY_SOCKET, KEY_ADD, KEY_REMOVE, KEY_STOP };
enum { IDLE, POSTED, DOUBTFUL, DOUBTFUL_LONG };

struct receive {
    OVERLAPPED overlapped; /* first: a completion names this address */
    WSAMSG message;
    WSABUF buffer;
    struct ec_rawsock *socket;
    uint64_t number;
    uint32_t state;
    SOCKADDR_STORAGE name;
    uint64_t control[CONTROL / 8];
};

struct ec_rawsock {
    SOCKET handle;
    LPFN_WSARECVMSG receive_message;
    uint32_t number, family, receives, room;
    struct receive *all;
    uint32_t failures; /* in a row */
    struct ec_rawsock *next;      /* among those of the thread */
    struct ec_rawsock *made_next; /* among all */
    _Atomic uint64_t packets, bytes, refused, cut, control_cut, errors, posted;
    _Atomic uint32_t outstanding, state, last_error;
};

struct ec_receiver {
    ec_ring *ring;
    HANDLE port, thread;
    uint32_t idle;
    int stopping;
    _Atomic uint64_t busy;
    struct ec_rawsock *sockets; /* the thread's */
    struct ec_rawsock *made;    /* every one, for ec_receiver_free; the caller's */
};

#define GET(x) atomic_load_explicit(&(x), memory_order_relaxed)
#define PUT(x, v) atomic_store_explicit(&(x), (v), memory_order_release)
#define ADD(x, v) PUT(x, GET(x) + (v)) /* the thread alone writes x */

static void failed(struct ec_rawsock *s, uint32_t error) {
    ADD(s->errors, 1u);
    PUT(s->last_error, error);
    if (++s->failures >= TRIES * s->receives && GET(s->state) == EC_RAWSOCK_RECEIVING) {
        PUT(s->state, EC_RAWSOCK_FAILED);
        CancelIoEx((HANDLE)s->handle, NULL);
    }
}

static void post(struct ec_rawsock *s, struct receive *r) {
    if (GET(s->state) != EC_RAWSOCK_RECEIVING) return;
    memset(&r->overlapped, 0, sizeof r->overlapped);
    r->message.namelen = (INT)sizeof r->name;
    r->message.Control.len = CONTROL;
    r->message.dwFlags = 0;
    r->number = GET(s->posted);
    int error = 0;
    /* a call that ends at once with success reports to the completion port all the same */
    if (s->receive_message(s->handle, &r->message, NULL, &r->overlapped, NULL) != 0) error = (int)GetLastError();
    if (error == 0 || error == WSA_IO_PENDING) {
        r->state = POSTED;
        ADD(s->posted, 1u);
        ADD(s->outstanding, 1u);
    } else if (error == WSAEMSGSIZE) {
        /* a warning may or may not be reported again: wait for it before the buffer is used once more */
        r->state = DOUBTFUL;
        ADD(s->posted, 1u);
    } else {
        r->state = IDLE;
        failed(s, (uint32_t)error);
    }
}

/* Receives that could not be posted get another try; a doubtful one after at least one whole interval. */
static void tend(struct ec_rawsock *s) {
    for (uint32_t i = 0; i < s->receives; i++) {
        struct receive *r = &s->all[i];
        if (r->state == DOUBTFUL) {
            r->state = DOUBTFUL_LONG;
        } else if (r->state != POSTED) {
            r->state = IDLE;
            post(s, r);
        }
    }
}

static int all_back(const struct ec_rawsock *s) {
    for (uint32_t i = 0; i < s->receives; i++)
        if (s->all[i].state != IDLE) return 0;
    return 1;
}

static void deliver(ec_receiver *receiver, struct ec_rawsock *s, struct receive *r, uint64_t size, int cut,
                    int64_t stamp) {
    s->failures = 0;
    ADD(s->packets, 1u);
    ADD(s->bytes, size);
    if (cut) ADD(s->cut, 1u);
    if (r->message.dwFlags & MSG_CTRUNC) ADD(s->control_cut, 1u);
    uint8_t *out = ec_ring_reserve(receiver->ring, EC_RAW_HEADER + size);
    if (!out) {
        ADD(s->refused, 1u);
        return;
    }
    INT name = r->message.namelen;
    ULONG control = r->message.Control.len;
    struct ec_raw_received received = {
        .name = (const uint8_t *)&r->name,
        .name_size = name > 0 && (size_t)name <= sizeof r->name ? (size_t)name : 0,
        .control = (const uint8_t *)r->control,
        .control_size = control <= CONTROL ? control : 0,
        .number = r->number, .socket = s->number, .family = s->family, .cut = (uint32_t)cut,
    };
    ec_raw_header(out, &received);
    memcpy(out + EC_RAW_HEADER, r->buffer.buf, (size_t)size);
    ec_ring_commit(receiver->ring, EC_RING_PACKET, stamp);
}

static void completed(ec_receiver *receiver, const OVERLAPPED_ENTRY *entry, int64_t stamp) {
    struct receive *r = (struct receive *)entry->lpOverlapped;
    struct ec_rawsock *s = r->socket;
    uint32_t status = (uint32_t)r->overlapped.Internal;
    uint64_t size = entry->dwNumberOfBytesTransferred;
    if (r->state == POSTED) ADD(s->outstanding, (uint32_t)-1);
    r->state = IDLE;
    if (size > s->room) size = s->room;
    if (status == 0 || status == STATUS_CUT)
        deliver(receiver, s, r, size, status == STATUS_CUT || (r->message.dwFlags & MSG_TRUNC) != 0, stamp);
    else if (status != STATUS_CANCELLED_ && status != STATUS_CLOSED)
        failed(s, status);
    else if (GET(s->state) == EC_RAWSOCK_RECEIVING) /* not by us: the socket is closed, or its address is gone */
        failed(s, status);
    post(s, r);
}

static void leave(struct ec_rawsock *s) {
    if (GET(s->state) >= EC_RAWSOCK_LEAVING) return;
    PUT(s->state, EC_RAWSOCK_LEAVING);
    CancelIoEx((HANDLE)s->handle, NULL);
}

static void command(ec_receiver *receiver, const OVERLAPPED_ENTRY *entry) {
    struct ec_rawsock *s = (struct ec_rawsock *)entry->lpOverlapped;
    if (entry->lpCompletionKey == KEY_ADD) {
        s->next = receiver->sockets;
        receiver->sockets = s;
        PUT(s->state, receiver->stopping ? EC_RAWSOCK_LEAVING : EC_RAWSOCK_RECEIVING);
        tend(s);
    } else if (entry->lpCompletionKey == KEY_REMOVE) {
        leave(s);
    } else if (entry->lpCompletionKey == KEY_STOP) {
        receiver->stopping = 1;
        for (s = receiver->sockets; s; s = s->next) leave(s);
    }
}

/* Sockets whose last receive has come back are let go; says how many are left. */
static uint32_t sweep(ec_receiver *receiver) {
    uint32_t left = 0;
    struct ec_rawsock **link = &receiver->sockets;
    while (*link) {
        struct ec_rawsock *s = *link;
        if (GET(s->state) == EC_RAWSOCK_LEAVING && all_back(s)) {
            *link = s->next;
            VirtualFree(s->all, 0, MEM_RELEASE);
            s->all = NULL;
            PUT(s->state, EC_RAWSOCK_GONE);
        } else {
            link = &s->next;
            left++;
        }
    }
    return left;
}

static DWORD WINAPI run(LPVOID given) {
    ec_receiver *receiver = given;
    OVERLAPPED_ENTRY entries[BATCH];
    ULONGLONG tended = GetTickCount64();
    uint32_t left = 0;
    while (!receiver->stopping || left) {
        ULONG count = 0;
        BOOL got = GetQueuedCompletionStatusEx(receiver->port, entries, BATCH, &count, receiver->idle, FALSE);
        LARGE_INTEGER stamp;
        QueryPerformanceCounter(&stamp);
        if (!got) {
            if (GetLastError() != WAIT_TIMEOUT) Sleep(receiver->idle); /* never seen; must not spin */
            count = 0;
        }
        int commands = 0;
        for (ULONG i = 0; i < count; i++) {
            if (entries[i].lpCompletionKey != KEY_SOCKET) {
                command(receiver, &entries[i]);
                commands = 1;
            } else if (entries[i].lpOverlapped) {
                completed(receiver, &entries[i], stamp.QuadPart);
            }
        }
        ULONGLONG now = GetTickCount64();
        if (now - tended >= REST) {
            tended = now;
            for (struct ec_rawsock *s = receiver->sockets; s; s = s->next) tend(s);
        }
        if (commands || left != 0) left = sweep(receiver);
        ec_ring_publish(receiver->ring, stamp.QuadPart);
        LARGE_INTEGER done;
        QueryPerformanceCounter(&done);
        if (count && (uint64_t)(done.QuadPart - stamp.QuadPart) > GET(receiver->busy))
            PUT(receiver->busy, (uint64_t)(done.QuadPart - stamp.QuadPart));
    }
    ec_ring_close(receiver->ring);
    return 0;
}

ec_receiver *ec_receiver_start(ec_ring *ring, uint32_t idle, uint32_t *error) {
    ec_receiver *receiver = calloc(1, sizeof *receiver);
    *error = ERROR_NOT_ENOUGH_MEMORY;
    if (!receiver) return NULL;
    receiver->ring = ring;
    receiver->idle = idle == 0 || idle > 250 ? 250 : idle;
    receiver->port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 1);
    if (receiver->port) receiver->thread = CreateThread(NULL, 0, run, receiver, 0, NULL);
    if (!receiver->thread) {
        *error = GetLastError();
        if (receiver->port) CloseHandle(receiver->port);
        free(receiver);
        return NULL;
    }
    SetThreadPriority(receiver->thread, THREAD_PRIORITY_HIGHEST);
    *error = 0;
    return receiver;
}

ec_rawsock *ec_receiver_add(ec_receiver *receiver, uint64_t socket, uint64_t receive_message, uint32_t number,
                            uint32_t family, uint32_t receives, uint32_t room, uint32_t *error) {
    *error = ERROR_INVALID_PARAMETER;
    if (!receive_message || receives < 1 || receives > 1024 || room < 1 || room > 65535) return NULL;
    if (family != 4 && family != 6) return NULL;
    struct ec_rawsock *s = calloc(1, sizeof *s);
    *error = ERROR_NOT_ENOUGH_MEMORY;
    if (!s) return NULL;
    size_t rows = (receives * sizeof *s->all + PAGE - 1) / PAGE * PAGE, step = ((size_t)room + 15u) / 16u * 16u;
    uint8_t *memory = VirtualAlloc(NULL, rows + receives * step, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE);
    if (!memory) {
        free(s);
        return NULL;
    }
    s->handle = (SOCKET)socket;
    s->receive_message = (LPFN_WSARECVMSG)(uintptr_t)receive_message;
    s->number = number;
    s->family = family;
    s->receives = receives;
    s->room = room;
    s->all = (struct receive *)(void *)memory;
    for (uint32_t i = 0; i < receives; i++) {
        struct receive *r = &s->all[i];
        r->socket = s;
        r->buffer.buf = (CHAR *)(memory + rows + i * step);
        r->buffer.len = room;
        r->message.name = (LPSOCKADDR)&r->name;
        r->message.lpBuffers = &r->buffer;
        r->message.dwBufferCount = 1;
        r->message.Control.buf = (CHAR *)r->control;
    }
    if (!CreateIoCompletionPort((HANDLE)s->handle, receiver->port, KEY_SOCKET, 0) ||
        !PostQueuedCompletionStatus(receiver->port, 0, KEY_ADD, (LPOVERLAPPED)(void *)s)) {
        *error = GetLastError();
        VirtualFree(memory, 0, MEM_RELEASE);
        free(s);
        return NULL;
    }
    s->made_next = receiver->made;
    receiver->made = s;
    *error = 0;
    return s;
}

void ec_receiver_remove(ec_receiver *receiver, ec_rawsock *socket) {
    PostQueuedCompletionStatus(receiver->port, 0, KEY_REMOVE, (LPOVERLAPPED)(void *)socket);
}

void ec_rawsock_count(ec_rawsock *s, struct ec_rawsock_counts *counts) {
    *counts = (struct ec_rawsock_counts){
        .packets = GET(s->packets), .bytes = GET(s->bytes), .refused = GET(s->refused), .cut = GET(s->cut),
        .control_cut = GET(s->control_cut), .errors = GET(s->errors), .posted = GET(s->posted),
        .outstanding = GET(s->outstanding), .last_error = GET(s->last_error),
        .state = atomic_load_explicit(&s->state, memory_order_acquire),
    };
}

uint64_t ec_receiver_busy(ec_receiver *receiver) { return GET(receiver->busy); }

int32_t ec_receiver_stop(ec_receiver *receiver, uint32_t milliseconds) {
    PostQueuedCompletionStatus(receiver->port, 0, KEY_STOP, NULL);
    return WaitForSingleObject(receiver->thread, milliseconds) == WAIT_OBJECT_0 ? 0 : 1;
}

int32_t ec_receiver_free(ec_receiver *receiver) {
    if (!receiver) return 0;
    if (WaitForSingleObject(receiver->thread, 0) != WAIT_OBJECT_0) return 1;
    CloseHandle(receiver->thread);
    CloseHandle(receiver->port);
    while (receiver->made) {
        struct ec_rawsock *s = receiver->made;
        receiver->made = s->made_next;
        if (s->all) VirtualFree(s->all, 0, MEM_RELEASE); /* handed over when the thread had ended */
        free(s);
    }
    free(receiver);
    return 0;
}

#else

typedef int ec_rawsock_is_for_windows; /* a unit must not be empty */

#endif
