#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#define _FILE_OFFSET_BITS 64
#endif
#include "file.h"

#if defined(_WIN32)
#include <windows.h>

int64_t ec_file_read(intptr_t handle, uint8_t *into, size_t size, int64_t offset)
{
    size_t done = 0;
    while (done < size) {
        const uint64_t at = (uint64_t)offset + done;
        const DWORD want = size - done > 0x40000000u ? 0x40000000u : (DWORD)(size - done);
        OVERLAPPED place;
        DWORD got = 0;
        memset(&place, 0, sizeof place);
        place.Offset = (DWORD)(at & 0xFFFFFFFFu);
        place.OffsetHigh = (DWORD)(at >> 32);
        if (!ReadFile((HANDLE)handle, into + done, want, &got, &place)) {
            if (GetLastError() == ERROR_HANDLE_EOF)
                break;
            return -1;
        }
        if (got == 0)
            break;
        done += got;
    }
    return (int64_t)done;
}
#else
#include <errno.h>
#include <unistd.h>

int64_t ec_file_read(intptr_t handle, uint8_t *into, size_t size, int64_t offset)
{
    size_t done = 0;
    while (done < size) {
        const ssize_t got = pread((int)handle, into + done, size - done, (off_t)(offset + (int64_t)done));
        if (got < 0) {
            if (errno == EINTR)
                continue;
            return -1;
        }
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (int64_t)done;
}
#endif
