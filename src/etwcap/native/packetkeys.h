/* Keys that recognise a packet at another layer of the stack. */
#ifndef ETWCAP_PACKETKEYS_H
#define ETWCAP_PACKETKEYS_H

#include "etwcap.h"

/* out[i]: equal for two packets that carry the same thing above the link header, 0 where the bytes do not tell.
 * IP: addresses, protocol, length and up to 40 bytes of the transport part, without checksums; neither the rest of
 * the IP header (it may have been rebuilt) nor the link header counts. Other frames: addresses, EtherType, length,
 * up to 40 bytes. link_type[i]: LINKTYPE_ value; 1, 101 and 105 are read. Returns rows, or -(i + 1) for the first
 * packet outside the buffer. */
EC_API int64_t ec_packet_keys(const uint8_t *buffer, size_t size, const int64_t *offset, const uint32_t *captured,
                              const uint32_t *original, const uint16_t *link_type, size_t rows, uint64_t *out);

#endif
