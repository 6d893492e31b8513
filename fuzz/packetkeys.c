/* Packet keys: they depend on the captured bytes alone, neither on the rest of the IP header nor on a VLAN tag, and are
 * the same for an 802.11 frame and for the Ethernet frame in it. */
#include "packetkeys.h"

#include "input.h"
#include "wifi.h"

enum { ETHERNET = 1, RAW_IP = 101, WIFI = 105 };

static uint64_t key_at(const uint8_t *buffer, size_t size, int64_t offset, uint32_t captured, uint32_t original, uint16_t link)
{
    uint64_t key = UINT64_C(0x5555555555555555);
    const int64_t got = ec_packet_keys(buffer, size, &offset, &captured, &original, &link, 1, &key);
    const int inside = offset >= 0 && (uint64_t)offset <= size && captured <= size - (size_t)offset;
    MUST(got == (inside ? 1 : -1));
    MUST(inside || key == UINT64_C(0x5555555555555555));
    return inside ? key : 0;
}

static uint64_t key_of(const uint8_t *packet, size_t size, uint32_t original, uint16_t link)
{
    return key_at(packet, size, 0, (uint32_t)size, original, link);
}

static void check_place(const uint8_t *packet, size_t size, uint32_t original, uint16_t link, uint64_t key)
{
    uint8_t *among = fuzz_room(size + 64);
    memset(among, 0x45, size + 64);
    if (size) memcpy(among + 5, packet, size);
    MUST(key_at(among, size + 64, 5, (uint32_t)size, original, link) == key);
    free(among);
}

/* IPv4: type of service, identification, fragment, time to live and header checksum do not count. IPv6: class, flow, hops. */
static void check_header(uint8_t *ip, size_t size, const uint8_t *packet, size_t whole, uint32_t original, uint16_t link,
                         uint64_t key)
{
    static const uint8_t free4[] = {1, 4, 5, 6, 7, 8, 10, 11}, free6[] = {1, 2, 3, 7};
    const int is4 = size >= 20 && ip[0] >> 4 == 4, is6 = size >= 40 && ip[0] >> 4 == 6;
    for (size_t i = 0; is4 && i < sizeof free4; i++) ip[free4[i]] ^= 0x5A;
    for (size_t i = 0; is6 && i < sizeof free6; i++) ip[free6[i]] ^= 0x5A;
    MUST(key_of(packet, whole, original, link) == key);
}

static void check_tag(const uint8_t *packet, size_t size, uint32_t original, uint64_t key)
{
    uint8_t *tagged = fuzz_room(size + 4);
    memcpy(tagged, packet, 12);
    memcpy(tagged + 12, "\x81\x00\x20\x07", 4);
    memcpy(tagged + 16, packet + 12, size - 12);
    MUST(key_of(tagged, size + 4, original + 4, ETHERNET) == key);
    free(tagged);
}

static void check_inner(uint8_t *frame, size_t size, uint32_t original, uint64_t key)
{
    int64_t offset = 0;
    uint32_t captured = (uint32_t)size;
    uint8_t state = 7;
    MUST(ec_wifi_to_ethernet(frame, size, &offset, &captured, 1, &state) == 1);
    const uint32_t moved = (uint32_t)offset;
    if (state == EC_WIFI_CONVERTED && original >= moved)
        MUST(key_at(frame, size, offset, captured, original - moved, ETHERNET) == key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint16_t links[] = {ETHERNET, RAW_IP, WIFI, WIFI, ETHERNET, RAW_IP, 0, 127};
    fuzz_input in = {data, data + size};
    const uint16_t link = links[fuzz_below(&in, 8)];
    const uint32_t more = (uint32_t)fuzz_extreme(&in);
    const int64_t place = (int64_t)fuzz_extreme(&in);
    size_t left;
    uint8_t *packet = fuzz_rest(&in, &left);
    const uint32_t original = more & 1 ? more : (uint32_t)left + (more & 0xFFFF);
    key_at(packet, left, place, more, original, link);
    const uint64_t key = key_of(packet, left, original, link);
    check_place(packet, left, original, link, key);
    if (link == ETHERNET && left >= 14 && original < UINT32_MAX - 4) {
        check_tag(packet, left, original, key);
        const unsigned type = ec_be16(packet + 12);
        if (type == 0x0800 || type == 0x86DD) check_header(packet + 14, left - 14, packet, left, original, link, key);
    }
    if (link == RAW_IP) check_header(packet, left, packet, left, original, link, key);
    if (link == WIFI && key != 0) check_inner(packet, left, original, key);
    free(packet);
    return 0;
}
