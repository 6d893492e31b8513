/* IPv6 headers of raw-socket records: whatever records, packets and tables, nothing outside is read, only the 40 bytes before a
 * packet are written, the header says what is known, and the same records give the same answers. */
#include "ipv6_rebuild.h"

#include "input.h"

#define ROWS 12
#define MOST_ADDRESSES 24
#define SLOTS 64u
#define MOST_LEARNT 40
#define PORTS 2

typedef struct {
    uint8_t address[MOST_ADDRESSES][16], role[MOST_ADDRESSES];
    uint64_t address_hash[MOST_ADDRESSES], key[SLOTS], value[SLOTS];
    uint16_t address_sum[MOST_ADDRESSES];
    int32_t next[MOST_ADDRESSES], head[65535];
    uint32_t slot[SLOTS];
} tables;

static const uint16_t ports[PORTS] = {546, 5353};
static const uint8_t groups[PORTS][16] = {{0xFF, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2}, {0xFF, 2, [15] = 0xFB}};

static ec_ipv6_state fresh(tables *t, int sole)
{
    memset(t, 0, sizeof *t);
    memset(t->head, 0xFF, sizeof t->head);
    return (ec_ipv6_state){
        .address = t->address[0], .address_hash = t->address_hash, .address_sum = t->address_sum, .role = t->role,
        .next = t->next, .head = t->head, .slot = t->slot, .address_slots = SLOTS, .capacity = MOST_ADDRESSES,
        .key = t->key, .value = t->value, .slots = SLOTS, .limit = MOST_LEARNT, .port = ports,
        .port_address = groups[0], .ports = PORTS, .sole = (uint64_t)sole,
    };
}

/* One of a few addresses, so that flows come about. */
static void read_address(fuzz_input *in, uint8_t *address)
{
    static const uint8_t starts[][2] = {{0xFE, 0x80}, {0x20, 0x01}, {0xFF, 0x02}, {0, 0}};
    const size_t how = fuzz_below(in, 32);
    memset(address, 0, 16);
    memcpy(address, starts[how % 4], 2);
    address[15] = (uint8_t)(how / 4 + 1);
    if (how == 31) memset(address, 0, 16);
}

/* Puts the sum of pseudo-header and packet right at this place. */
static void put_sum(uint8_t *p, size_t size, size_t at, uint32_t protocol, const uint8_t *source, const uint8_t *to)
{
    if (at + 2 > size) return;
    uint32_t sum = protocol + (uint32_t)size;
    p[at] = p[at + 1] = 0;
    for (size_t i = 0; i < 16; i += 2) sum += (uint32_t)ec_be16(source + i) + ec_be16(to + i);
    for (size_t i = 0; i < size; i++) sum += i % 2 ? p[i] : p[i] * 256u;
    while (sum >> 16) sum = (sum & 0xFFFF) + (sum >> 16);
    sum = ~sum & 0xFFFF;
    p[at] = (uint8_t)(sum >> 8), p[at + 1] = (uint8_t)sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, data + size};
    const uint32_t mode = (uint32_t)fuzz_below(&in, 8);
    const int sole = (int)fuzz_below(&in, 2);
    uint8_t known[3][16];
    for (size_t i = 0; i < 3; i++) read_address(&in, known[i]);
    const size_t rows = fuzz_below(&in, ROWS + 1);
    int64_t record[ROWS], payload[ROWS];
    uint32_t captured[ROWS], original[ROWS], first[ROWS] = {0}, again[ROWS] = {0};
    size_t used = 0, fit = rows;
    uint8_t *made = fuzz_room(ROWS * (EC_RAW_SIZE + EC_IPV6_HEADER + 256));
    for (size_t i = 0; i < rows; i++) {
        uint8_t *header = made + used, *packet = header + EC_RAW_SIZE + EC_IPV6_HEADER, to[16];
        const size_t how = fuzz_below(&in, 16);
        record[i] = (int64_t)used;
        payload[i] = record[i] + EC_RAW_SIZE + EC_IPV6_HEADER;
        captured[i] = (uint32_t)fuzz_number(&in, 1);
        original[i] = how & 1 ? captured[i] : (uint32_t)fuzz_extreme(&in);
        ec_put16(header + EC_RAW_PRESENT, (uint16_t)fuzz_number(&in, 1));
        header[EC_RAW_HOP_LIMIT] = (uint8_t)fuzz_number(&in, 1);
        header[EC_RAW_CLASS] = (uint8_t)fuzz_number(&in, 1);
        read_address(&in, header + EC_RAW_SOURCE);
        read_address(&in, to);
        memcpy(header + EC_RAW_DESTINATION, to, 16);
        for (size_t j = 0; j < captured[i] && in.at < in.end; j++) packet[j] = (uint8_t)fuzz_number(&in, 1);
        if (how == 13) put_sum(packet, captured[i], 16, 6, header + EC_RAW_SOURCE, to);
        if (how == 11) put_sum(packet, captured[i], 6, 17, header + EC_RAW_SOURCE, to);
        if (how == 9) put_sum(packet, captured[i], 2, 58, header + EC_RAW_SOURCE, to);
        used += EC_RAW_SIZE + EC_IPV6_HEADER + captured[i];
    }
    const size_t wrong = fuzz_below(&in, 64);
    if (wrong < rows) {
        const size_t what = fuzz_below(&in, 3);
        if (what == 0) record[wrong] = fuzz_place(&in, used);
        if (what == 1) payload[wrong] = fuzz_place(&in, used);
        if (what == 2) captured[wrong] = (uint32_t)fuzz_extreme(&in);
        const int64_t r = record[wrong], p = payload[wrong];
        if (r < 0 || (uint64_t)r + EC_RAW_SIZE > used || p < EC_IPV6_HEADER || (uint64_t)p > used || captured[wrong] > used - (size_t)p)
            fit = wrong;
    }
    const int64_t expected = fit == rows ? (int64_t)rows : -(int64_t)fit - 1;
    tables *t = fuzz_room(sizeof *t);
    uint8_t *buffer = fuzz_copy(made, used), *second = fuzz_copy(made, used);
    ec_ipv6_state state = fresh(t, sole);
    MUST(ec_ipv6_add(&state, known[0], 3, EC_ROLE_OWN) == (int64_t)state.count && state.count <= 3);
    MUST(ec_ipv6_rebuild(&state, buffer, used, record, payload, captured, original, rows, mode, first) == expected);
    MUST(state.count <= MOST_ADDRESSES && state.used <= MOST_LEARNT);
    state = fresh(t, sole);
    ec_ipv6_add(&state, known[0], 3, EC_ROLE_OWN);
    MUST(ec_ipv6_rebuild(&state, second, used, record, payload, captured, original, rows, mode, again) == expected);
    MUST(used == 0 || memcmp(buffer, second, used) == 0);
    MUST(memcmp(first, again, sizeof first) == 0);
    for (size_t at = 0; at < used; at++) {
        int may = 0;
        for (size_t i = 0; i < fit; i++)
            may |= (mode & EC_IPV6_WRITE) && (int64_t)at >= payload[i] - EC_IPV6_HEADER && (int64_t)at < payload[i];
        MUST(may || buffer[at] == made[at]);
    }
    for (size_t i = 0; i < fit && (mode & EC_IPV6_WRITE) && wrong >= rows; i++) {
        const uint8_t *header = buffer + payload[i] - EC_IPV6_HEADER, *from = made + record[i];
        MUST(header[0] >> 4 == 6 && header[6] == (first[i] & 0xFF));
        MUST(memcmp(header + 8, from + EC_RAW_SOURCE, 16) == 0);
        if (ec_u16(from + EC_RAW_PRESENT) & EC_RAW_HAS_DESTINATION)
            MUST(memcmp(header + 24, from + EC_RAW_DESTINATION, 16) == 0 && first[i] >> 16 == EC_TO_TOLD);
    }
    free(second), free(buffer), free(t), free(made);
    return 0;
}
