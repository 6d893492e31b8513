#include "wifi.h"

/* Bits of the frame control word, IEEE 802.11-2020 9.2.4.1; the first byte says type and subtype. */
enum { TYPE_AND_NO_DATA = 0x4C, DATA = 0x08, QOS = 0x80 };
enum { TO_DS = 0x01, FROM_DS = 0x02, PROTECTED = 0x40, ORDER = 0x80 };

static const uint8_t snap[6] = {0xAA, 0xAA, 0x03, 0, 0, 0};

static size_t header_size(const uint8_t *p)
{
    size_t size = 24;
    if ((p[1] & (TO_DS | FROM_DS)) == (TO_DS | FROM_DS))
        size += 6;
    if (p[0] & QOS)
        size += (p[1] & ORDER) ? 6 : 2;
    return size;
}

/* Whether the frame carries data behind LLC/SNAP. */
static int has_snap(const uint8_t *p, size_t n)
{
    if (n < 24 || (p[0] & TYPE_AND_NO_DATA) != DATA)
        return 0;
    const size_t header = header_size(p);
    return n >= header + 8 && memcmp(p + header, snap, sizeof snap) == 0;
}

static int outside(size_t size, int64_t offset, uint32_t captured)
{
    return offset < 0 || (uint64_t)offset > size || captured > size - (size_t)offset;
}

int64_t ec_wifi_clear_protected(uint8_t *buffer, size_t size, const int64_t *offset, const uint32_t *captured,
                                size_t rows, uint8_t *changed)
{
    for (size_t i = 0; i < rows; i++) {
        if (outside(size, offset[i], captured[i]))
            return -(int64_t)i - 1;
        uint8_t *p = buffer + offset[i];
        changed[i] = captured[i] >= 2 && (p[1] & PROTECTED) != 0 && has_snap(p, captured[i]);
        if (changed[i])
            p[1] = (uint8_t)(p[1] & ~PROTECTED);
    }
    return (int64_t)rows;
}

static uint8_t to_ethernet(uint8_t *p, size_t n, size_t *moved)
{
    if (n < 24 || (p[0] & TYPE_AND_NO_DATA) != DATA)
        return EC_WIFI_OTHER;
    const int four_addresses = (p[1] & (TO_DS | FROM_DS)) == (TO_DS | FROM_DS);
    const int qos = (p[0] & QOS) != 0;
    if (four_addresses || (qos && (p[1] & ORDER)) || (qos && n > 24 && (p[24] & 0x80)))
        return EC_WIFI_UNSUPPORTED;
    if (!has_snap(p, n))
        return EC_WIFI_OTHER;
    uint8_t addresses[12];
    memcpy(addresses, (p[1] & TO_DS) ? p + 16 : p + 4, 6);
    memcpy(addresses + 6, (p[1] & FROM_DS) ? p + 16 : p + 10, 6);
    *moved = header_size(p) + 6 - sizeof addresses;
    memcpy(p + *moved, addresses, sizeof addresses);
    return EC_WIFI_CONVERTED;
}

int64_t ec_wifi_to_ethernet(uint8_t *buffer, size_t size, int64_t *offset, uint32_t *captured, size_t rows,
                            uint8_t *state)
{
    for (size_t i = 0; i < rows; i++) {
        if (outside(size, offset[i], captured[i]))
            return -(int64_t)i - 1;
        size_t moved = 0;
        state[i] = to_ethernet(buffer + offset[i], captured[i], &moved);
        offset[i] += (int64_t)moved;
        captured[i] -= (uint32_t)moved;
    }
    return (int64_t)rows;
}
