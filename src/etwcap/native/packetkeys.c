#include "packetkeys.h"

enum { COMPARED = 40 };

static uint64_t hash_bytes(uint64_t hash, const uint8_t *p, size_t size)
{
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ p[i]) * UINT64_C(0x100000001B3);
    return hash;
}

static uint64_t hash_word(uint64_t hash, uint32_t word)
{
    uint8_t bytes[4];
    ec_put32(bytes, word);
    return hash_bytes(hash, bytes, sizeof bytes);
}

/* Offset of the checksum in a transport header, or COMPARED. */
static size_t checksum_at(uint32_t protocol)
{
    switch (protocol) {
    case 6: return 16;
    case 17: return 6;
    case 1:
    case 58: return 2;
    default: return COMPARED;
    }
}

static uint64_t key(uint32_t kind, const uint8_t *addresses, size_t address_size, uint32_t length, const uint8_t *body,
                    size_t available, size_t skipped)
{
    uint8_t compared[COMPARED] = {0};
    const size_t count = available < COMPARED ? available : COMPARED;
    if (count > 0)
        memcpy(compared, body, count);
    if (skipped + 2 <= COMPARED)
        memset(compared + skipped, 0, 2);
    uint64_t hash = UINT64_C(0xCBF29CE484222325);
    hash = hash_word(hash, kind);
    hash = hash_word(hash, length);
    hash = hash_bytes(hash, addresses, address_size);
    hash = hash_bytes(hash, compared, count);
    return hash == 0 ? 1 : hash;
}

static uint64_t ip_key(const uint8_t *p, size_t n, uint32_t original)
{
    const uint8_t *addresses;
    size_t address_size, at;
    uint32_t length, protocol;
    if (n >= 20 && p[0] >> 4 == 4) {
        at = (size_t)(p[0] & 15) * 4;
        length = ec_be16(p + 2);
        if (length == 0)
            length = original;
        protocol = p[9];
        addresses = p + 12;
        address_size = 8;
        if (at < 20 || at > n || length < at)
            return 0;
        length -= (uint32_t)at;
    } else if (n >= 40 && p[0] >> 4 == 6) {
        at = 40;
        length = ec_be16(p + 4);
        if (length == 0)
            length = original < 40 ? 0 : original - 40;
        protocol = p[6];
        addresses = p + 8;
        address_size = 32;
        while ((protocol == 0 || protocol == 43 || protocol == 60) && n - at >= 8) {
            const size_t extension = ((size_t)p[at + 1] + 1) * 8;
            if (extension > n - at || extension > length)
                return 0;
            protocol = p[at];
            at += extension;
            length -= (uint32_t)extension;
        }
    } else {
        return 0;
    }
    const size_t available = n - at < length ? n - at : length;
    return key((uint32_t)address_size << 8 | protocol, addresses, address_size, length, p + at, available,
               checksum_at(protocol));
}

static uint64_t frame_key(const uint8_t *destination, const uint8_t *source, const uint8_t *p, size_t n, size_t at,
                          uint32_t original)
{
    uint32_t type = ec_be16(p + at - 2);
    while ((type == 0x8100 || type == 0x88A8 || type == 0x9100) && n - at >= 4) {
        type = ec_be16(p + at + 2);
        at += 4;
    }
    const uint32_t length = original < at ? 0 : original - (uint32_t)at;
    if (type == 0x0800 || type == 0x86DD)
        return ip_key(p + at, n - at, length);
    uint8_t addresses[12];
    memcpy(addresses, destination, 6);
    memcpy(addresses + 6, source, 6);
    return key(UINT32_C(0x10000) | type, addresses, sizeof addresses, length, p + at, n - at, COMPARED);
}

static uint64_t wifi_key(const uint8_t *p, size_t n, uint32_t original)
{
    static const uint8_t snap[6] = {0xAA, 0xAA, 0x03, 0, 0, 0};
    if (n < 24 || (p[0] & 0x4C) != 0x08 || (p[1] & 3) == 3)
        return 0;
    const size_t header = (p[0] & 0x80) ? ((p[1] & 0x80) ? 30 : 26) : 24;
    if (n < header + 8 || memcmp(p + header, snap, sizeof snap) != 0)
        return 0;
    const uint8_t *destination = (p[1] & 1) ? p + 16 : p + 4;
    const uint8_t *source = (p[1] & 2) ? p + 16 : p + 10;
    return frame_key(destination, source, p, n, header + 8, original);
}

int64_t ec_packet_keys(const uint8_t *buffer, size_t size, const int64_t *offset, const uint32_t *captured,
                       const uint32_t *original, const uint16_t *link_type, size_t rows, uint64_t *out)
{
    for (size_t i = 0; i < rows; i++) {
        const size_t n = captured[i];
        if (offset[i] < 0 || (uint64_t)offset[i] > size || n > size - (size_t)offset[i])
            return -(int64_t)i - 1;
        const uint8_t *p = buffer + offset[i];
        out[i] = 0;
        if (link_type[i] == 1 && n >= 14)
            out[i] = frame_key(p, p + 6, p, n, 14, original[i]);
        else if (link_type[i] == 101)
            out[i] = ip_key(p, n, original[i]);
        else if (link_type[i] == 105)
            out[i] = wifi_key(p, n, original[i]);
    }
    return (int64_t)rows;
}
