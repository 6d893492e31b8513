/* The raw-socket receiver of Windows: one thread, one completion port, many outstanding WSARecvMsg calls per socket.
 *
 * Sockets are opened, bound and closed by the caller; the thread posts receives on them, and writes each packet as a
 * raw-socket record into its ring (kind EC_RING_PACKET), stamped with QueryPerformanceCounter once per batch of
 * completions. Receives are numbered per socket as they are posted. Nothing here is linked with ws2_32.dll: WSARecvMsg
 * comes as the pointer that SIO_GET_EXTENSION_FUNCTION_POINTER gave. */
#ifndef ETWCAP_RAWSOCK_H
#define ETWCAP_RAWSOCK_H

#if defined(_WIN32)

#include "ring.h"

#define EC_WINDOWS_API __declspec(dllexport)
#define EC_RING_PACKET 1u

typedef struct ec_receiver ec_receiver;
typedef struct ec_rawsock ec_rawsock;

enum { EC_RAWSOCK_STARTING, EC_RAWSOCK_RECEIVING, EC_RAWSOCK_FAILED, EC_RAWSOCK_LEAVING, EC_RAWSOCK_GONE };

struct ec_rawsock_counts {
    uint64_t packets, bytes;  /* received; the ring may have refused some */
    uint64_t refused;         /* by the ring */
    uint64_t cut;             /* longer than a buffer */
    uint64_t control_cut;     /* ancillary data did not fit */
    uint64_t errors;          /* receives that failed; those that were cancelled are not counted */
    uint64_t posted;          /* receives that were posted, the next one's number */
    uint32_t outstanding;     /* receives that the system holds now */
    uint32_t state;           /* EC_RAWSOCK_… */
    uint32_t last_error;      /* of the last error: Winsock's number, or an NTSTATUS */
    uint32_t reserved;
};

/* Starts the thread on the ring, whose only producer it is; it promises the ring's reader something at least every
 * idle milliseconds (at most 250). NULL and a Win32 error where that fails. */
EC_WINDOWS_API ec_receiver *ec_receiver_start(ec_ring *ring, uint32_t idle, uint32_t *error);
/* Hands a bound, overlapped socket over, with so many receives (1 to 1024) of room bytes (1 to 65535). number is what
 * its records carry, family 4 or 6. NULL and a Win32 error where that fails; else valid until ec_receiver_free. */
EC_WINDOWS_API ec_rawsock *ec_receiver_add(ec_receiver *receiver, uint64_t socket, uint64_t receive_message,
                                           uint32_t number, uint32_t family, uint32_t receives, uint32_t room,
                                           uint32_t *error);
/* Asks for the end of the socket's receives; its state becomes EC_RAWSOCK_GONE, and then it may be closed. */
EC_WINDOWS_API void ec_receiver_remove(ec_receiver *receiver, ec_rawsock *socket);
EC_WINDOWS_API void ec_rawsock_count(ec_rawsock *socket, struct ec_rawsock_counts *counts);
/* Ticks that the thread spent at most on one batch: so late the stamps of the next one may be. */
EC_WINDOWS_API uint64_t ec_receiver_busy(ec_receiver *receiver);
/* Cancels all receives and waits for the thread: 0 ended, 1 the time is over. Then the caller closes the sockets and
 * asks again. */
EC_WINDOWS_API int32_t ec_receiver_stop(ec_receiver *receiver, uint32_t milliseconds);
/* Frees everything; 1 and nothing is freed while the thread runs. */
EC_WINDOWS_API int32_t ec_receiver_free(ec_receiver *receiver);

#endif
#endif
