/* The 64-byte header of a raw-socket record (providers/rawsocket_layout.py) from what a WSARecvMsg call gave. */
#ifndef ETWCAP_RAWSOCK_RECORD_H
#define ETWCAP_RAWSOCK_RECORD_H

#include "etwcap.h"

#define EC_RAW_HEADER 64u
#define EC_RAW_CUT 32u /* Present.CUT of rawsocket_layout.py */

struct ec_raw_received {
    const uint8_t *name;    /* SOCKADDR_IN or SOCKADDR_IN6 of the sender */
    size_t name_size;
    const uint8_t *control; /* WSACMSGHDRs of a 64-bit process */
    size_t control_size;
    uint64_t number; /* of the receive on its socket */
    uint32_t socket;
    uint32_t family; /* 4 or 6 */
    uint32_t cut;    /* not 0: the packet was longer than the buffer */
};

/* Writes the header. Ancillary data that does not fit its own lengths ends the reading of it; what is of no use here
 * is passed over. Gives the present bits. */
EC_API uint32_t ec_raw_header(uint8_t *out, const struct ec_raw_received *received);

#endif
