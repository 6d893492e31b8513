/* Causal order: whatever packets, each comes out once; one that was not moved has its own time; one that was moved stands behind
 * what it waited for; packets that came in time order go out in time order; and facts depend on captured bytes alone. */
#include <sys/mman.h>

#include "input.h"
#include "order.h"

#define ROWS 64

/* Makes a packet of any bytes the one of a tunnel, up to the lengths of the IP packet in it. */
static void write_tunnel(uint8_t *p, size_t size, size_t which)
{
    static const struct {
        uint8_t protocol, length;
        uint8_t head[32];
    } tunnels[] = {
        {4, 0, {0}},
        {47, 4, {0, 0, 8, 0}},
        {47, 16, {0xB0, 0, 8, 0}},
        {47, 18, {0, 0, 0x65, 0x58, [16] = 8}},
        {47, 14, {0x30, 1, 0x88, 0x0B, [12] = 0, 0x21}},
        {47, 8, {0, 0, 0x88, 0x47, 0, 0, 1, 64}},
        {97, 16, {0x30, 0, [14] = 8}},
        {115, 18, {1, [16] = 8}},
        {115, 22, {1, [20] = 8}},
        {137, 4, {0, 0, 1, 64}},
        {17, 24, {0, 0, 8, 0x68, 0, 0, 0, 0, 0x36, 0xFF, [19] = 0x85, 1, 0, 0, 0}},
        {17, 16, {0, 0, 0x17, 0xC1, 0, 0, 0, 0, 0, 0, 8, 0}},
        {17, 30, {0, 0, 0x12, 0xB5, 0, 0, 0, 0, 8, [28] = 8}},
        {17, 16, {0, 0, 0x08, 0x68, 0, 0, 0, 0, 0x30, 0xFF}},
    };
    const size_t at = 20U + tunnels[which].length;
    uint32_t sum = 0;
    p[0] = 0x45;
    p[2] = 0, p[3] = (uint8_t)size;
    p[6] = p[7] = 0;
    p[9] = tunnels[which].protocol;
    memcpy(p + 12, "\xC0\x00\x02\x01\xC0\x00\x02\x02", 8);
    memcpy(p + 20, tunnels[which].head, tunnels[which].length);
    p[at] = 0x45;
    p[at + 2] = 0, p[at + 3] = (uint8_t)(size - at);
    p[at + 10] = p[at + 11] = 0;
    for (size_t i = 0; i < 20; i += 2) sum += (uint32_t)p[at + i] << 8 | p[at + i + 1];
    sum = 0xFFFF - ((sum & 0xFFFF) + (sum >> 16)) % 0xFFFF;
    p[at + 10] = (uint8_t)(sum >> 8), p[at + 11] = (uint8_t)sum;
}

/* A raw IP packet of the input: TCP segments and datagrams of a few connections, errors that quote them, tunnels, or any
 * bytes. */
static size_t read_packet(fuzz_input *in, uint8_t *p)
{
    const size_t how = fuzz_below(in, 8), ends = fuzz_below(in, 4);
    size_t size = 20;
    memset(p, 0, 128);
    p[0] = 0x45;
    p[8] = 64;
    memcpy(p + 12, "\xC0\x00\x02\x01\xC0\x00\x02\x02", 8);
    if (ends & 1) {
        p[15] = 2;
        p[19] = 1;
    }
    uint8_t *t = p + 20;
    static const uint16_t services[] = {53, 67, 547, 123, 137, 5355, 161, 69, 111, 2049, 1812, 4500, 500, 3478, 1024, 3799};
    const uint16_t service = how == 4 ? services[fuzz_below(in, 16)] : 443;
    const uint8_t ports[4] = {(uint8_t)(service >> 8), (uint8_t)service, 0xC0, (uint8_t)(ends >> 1)};
    if (how < 4) { /* TCP */
        p[9] = 6;
        memcpy(t, ports + ((ends & 1) ? 2 : 0), 2);
        memcpy(t + 2, ports + ((ends & 1) ? 0 : 2), 2);
        t[6] = (uint8_t)fuzz_below(in, 4), t[7] = (uint8_t)fuzz_number(in, 1);
        t[10] = (uint8_t)fuzz_below(in, 4), t[11] = (uint8_t)fuzz_number(in, 1);
        t[12] = (uint8_t)fuzz_number(in, 1) | 0x50;
        t[13] = (uint8_t)fuzz_number(in, 1);
        size = 40 + fuzz_below(in, 60);
        for (size_t i = 20; i < size - 20; i++) t[i] = how == 0 ? (uint8_t)fuzz_number(in, 1) : 1;
    } else if (how < 6) { /* UDP, ICMP */
        p[9] = how == 4 ? 17 : 1;
        memcpy(t, ports + ((ends & 1) ? 2 : 0), 2);
        memcpy(t + 2, ports + ((ends & 1) ? 0 : 2), 2);
        const size_t simple = fuzz_below(in, 2);
        size = 28 + fuzz_below(in, 60);
        if (how == 5) t[0] = (uint8_t)(fuzz_below(in, 2) * 8), t[1] = 0;
        for (size_t i = 8; i < size - 20; i++) t[i] = (uint8_t)(simple ? fuzz_below(in, 8) : fuzz_number(in, 1));
    } else if (how == 6) { /* an error that quotes a packet */
        p[9] = 1;
        t[0] = 3;
        uint8_t quoted[128];
        const size_t inner = fuzz_below(in, 60);
        memset(quoted, 0, sizeof quoted);
        quoted[0] = 0x45;
        quoted[9] = ends & 2 ? 6 : 17;
        memcpy(quoted + 12, p + 16, 4);
        memcpy(quoted + 16, p + 12, 4);
        for (size_t i = 20; i < inner; i++) quoted[i] = (uint8_t)fuzz_number(in, 1);
        memcpy(t + 8, quoted, inner);
        size = 28 + inner;
    } else {
        size = fuzz_below(in, 100);
        for (size_t i = 0; i < size; i++) p[i] = (uint8_t)fuzz_number(in, 1);
        if (size >= 72 && p[0] < 14) write_tunnel(p, size, p[0]);
        return size;
    }
    p[2] = 0, p[3] = (uint8_t)size;
    return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, data + size};
    const int64_t window = (int64_t)fuzz_below(&in, 64) * 1000;
    const size_t most = fuzz_below(&in, 8) ? SIZE_MAX : fuzz_below(&in, ROWS), step = fuzz_below(&in, ROWS) + 1;
    const int sorted = fuzz_below(&in, 4) != 0;
    int64_t offset[ROWS], time[ROWS];
    uint32_t captured[ROWS], original[ROWS];
    uint16_t link[ROWS];
    uint8_t direction[ROWS], packet[128];
    uint8_t *made = fuzz_room(ROWS * 128);
    size_t rows = 0, used = 0;
    for (int64_t now = 1000000; in.at < in.end && rows < ROWS; rows++) {
        const size_t got = read_packet(&in, packet);
        memcpy(made + used, packet, got);
        offset[rows] = (int64_t)used;
        captured[rows] = (uint32_t)got;
        used += got;
        original[rows] = captured[rows] + (uint32_t)fuzz_below(&in, 4);
        link[rows] = fuzz_below(&in, 16) ? 101 : (uint16_t)fuzz_number(&in, 1);
        direction[rows] = (uint8_t)fuzz_below(&in, 3);
        now += (int64_t)fuzz_below(&in, 32) * 500;
        time[rows] = sorted ? now : (int64_t)fuzz_extreme(&in);
    }
    uint8_t *buffer = fuzz_copy(made, used);
    free(made);
    const uint8_t own_address[16] = {[10] = 0xFF, 0xFF, 0xC0, 0, 2, 1};
    uint64_t *own = fuzz_room(4 * sizeof *own);
    ec_order_own(own_address, 1, own, 4);
    ec_order_fact *facts = fuzz_room(rows * sizeof *facts), one;
    MUST(ec_order_facts(buffer, used, offset, captured, original, link, direction, rows, own, 4, facts) == rows);
    const int64_t zero = 0, outside = (int64_t)used + 1;
    for (size_t i = 0; i < rows; i++) {
        uint8_t *alone = fuzz_copy(buffer + offset[i], captured[i]);
        MUST(ec_order_facts(alone, captured[i], &zero, captured + i, original + i, link + i, direction + i, 1, own, 4, &one) == 1);
        MUST(memcmp(&one, facts + i, sizeof one) == 0 && one.sacks <= EC_ORDER_BLOCKS && one.way <= 1);
        MUST(ec_order_facts(alone, captured[i], &outside, captured + i, original + i, link + i, direction + i, 1, own, 4, &one) == 0);
        free(alone);
    }
    /* zeros that cost nothing until they are used */
    ec_order *order = mmap(NULL, ec_order_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(order != MAP_FAILED);
    static int64_t number[EC_ORDER_RING], out[EC_ORDER_RING];
    static uint8_t reason[EC_ORDER_RING];
    uint8_t seen[ROWS] = {0};
    size_t given = 0;
    int64_t latest = INT64_MIN;
    for (size_t at = 0, last = 0; !last;) {
        const size_t count = rows - at < step ? rows - at : step;
        ec_order_take(order, facts + at, time + at, count, window);
        at += count;
        last = at == rows;
        const int64_t complete_to = last ? INT64_MAX : time[at - 1];
        const size_t got = ec_order_give(order, complete_to, window, most, number, out, reason);
        MUST(got <= rows - given && at - given - got <= most);
        for (size_t i = 0; i < got; i++) {
            MUST(number[i] >= 0 && (uint64_t)number[i] < at && !seen[number[i]]);
            seen[number[i]] = 1;
            MUST(reason[i] <= EC_ORDER_SEQUENCE);
            MUST(reason[i] != 0 ? out[i] >= time[number[i]] : out[i] == time[number[i]]);
            if (sorted && most == SIZE_MAX) MUST(out[i] >= latest);
            latest = out[i];
        }
        given += got;
    }
    MUST(given == rows);
    munmap(order, ec_order_size());
    free(facts), free(own), free(buffer);
    return 0;
}
