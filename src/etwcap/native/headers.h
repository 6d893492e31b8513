/* Walking the headers of packets: how far they reach, and where addresses and the checksums over them lie. */
#ifndef ETWCAP_HEADERS_H
#define ETWCAP_HEADERS_H

#include "etwcap.h"

enum { EC_MAC = 1, EC_IPV4 = 2, EC_IPV6 = 3 };

/* PARTIAL: the body's checksum is the sum of its pseudo-header, not complemented (left to the network card).
 * UDP: a body's checksum of 0 means none, so 0xFFFF is written for it. ODD: lies at an odd place of what is summed. */
enum { EC_FIELD_PARTIAL = 1, EC_FIELD_UDP = 2, EC_FIELD_ODD = 4 };

/* An address in a packet. header, body and outer are the distances from its first byte to the checksums that cover it
 * (0: none): of the IP header around it, of the TCP, UDP or ICMP message (its pseudo-header too), and of the message
 * that quotes all these. */
typedef struct {
    int64_t position; /* in the buffer */
    int32_t header, body, outer;
    uint8_t kind; /* EC_MAC ... */
    uint8_t size; /* bytes that were captured of it */
    uint8_t flags;
    uint8_t zero;
} ec_field;

/* Walks rows from *row on. kept[i]: bytes up to the end of the last header that is understood (0: unknown link type).
 * Appends to fields from *used on; fields may be NULL. Returns 0; 1 where the fields of row *row find no room (none of
 * them was added); -1 where row *row lies outside the buffer. */
EC_API int32_t ec_headers_walk(const uint8_t *buffer, size_t size, const int64_t *offset, const uint32_t *captured,
                               const uint16_t *link, size_t rows, size_t *row, uint32_t *kept, ec_field *fields,
                               size_t room, size_t *used);

#endif
