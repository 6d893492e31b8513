/* 802.11 data frames: the Protected bit, and the Ethernet frame inside. */
#ifndef ETWCAP_WIFI_H
#define ETWCAP_WIFI_H

#include "etwcap.h"

enum { EC_WIFI_OTHER = 0, EC_WIFI_CONVERTED = 1, EC_WIFI_UNSUPPORTED = 2 };

/* Clears the Protected bit of data frames whose LLC/SNAP header (AA AA 03 00 00 00) follows the MAC header: they
 * are in the clear. changed[i] says where. Returns rows, or -(i + 1) for the first frame outside the buffer. */
EC_API int64_t ec_wifi_clear_protected(uint8_t *buffer, size_t size, const int64_t *offset, const uint32_t *captured,
                                       size_t rows, uint8_t *changed);

/* Turns data frames into Ethernet frames in place: offset[i] and captured[i] become those of the Ethernet frame,
 * which ends where the 802.11 frame ended. state[i]: converted; unsupported (four addresses, HT control, A-MSDU);
 * other (no data, no LLC/SNAP with organisation 0, cut too early), left as it is. Returns as above; nothing is
 * changed then from that frame on. */
EC_API int64_t ec_wifi_to_ethernet(uint8_t *buffer, size_t size, int64_t *offset, uint32_t *captured, size_t rows,
                                   uint8_t *state);

#endif
