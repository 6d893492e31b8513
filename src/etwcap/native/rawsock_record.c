#include "rawsock_record.h"

/* Numbers of ws2ipdef.h and ws2tcpip.h, which stand here so that this compiles and is tested everywhere. */
enum {
    WINDOWS_AF_INET = 2, WINDOWS_AF_INET6 = 23,
    LEVEL_IP = 0, LEVEL_IPV6 = 41,
    PKTINFO = 19,
    TTL = 4, HOP_LIMIT = 21, /* IPv4's TTL comes as IP_TTL or IP_RECVTTL */
    TOS = 3, TCLASS = 39, RECEIVED_TOS = 40,
    CMSG = 16, /* WSACMSGHDR: u64 length with header, i32 level, i32 type; data follow at once */
};

enum { DESTINATION = 1, INTERFACE = 2, HOPS = 4, CLASS = 8, NUMBER = 16 };

/* A byte that comes as INT; 0 where it is none. */
static int small(const uint8_t *data, size_t size, uint8_t *out) {
    if (size < 4 || ec_u32(data) > 255) return 0;
    *out = data[0];
    return 1;
}

static uint32_t item(uint8_t *out, int v6, uint32_t type, const uint8_t *data, size_t size) {
    size_t width = v6 ? 16 : 4;
    if (type == PKTINFO && size >= width + 4) {
        memcpy(out + 48, data, width);
        memcpy(out + 20, data + width, 4);
        return DESTINATION | INTERFACE;
    }
    if (type == HOP_LIMIT || (!v6 && type == TTL)) return small(data, size, out + 24) ? HOPS : 0;
    if (type == TCLASS || (!v6 && (type == TOS || type == RECEIVED_TOS))) return small(data, size, out + 25) ? CLASS : 0;
    return 0;
}

uint32_t ec_raw_header(uint8_t *out, const struct ec_raw_received *r) {
    int v6 = r->family == 6;
    memset(out, 0, EC_RAW_HEADER);
    ec_put32(out, 0x31535245u);
    out[4] = 1;
    out[5] = (uint8_t)r->family;
    ec_put64(out + 8, r->number);
    ec_put32(out + 16, r->socket);
    if (v6 && r->name_size >= 28 && ec_u16(r->name) == WINDOWS_AF_INET6) {
        memcpy(out + 32, r->name + 8, 16);
        memcpy(out + 28, r->name + 24, 4);
    } else if (!v6 && r->name_size >= 8 && ec_u16(r->name) == WINDOWS_AF_INET) {
        memcpy(out + 32, r->name + 4, 4);
    }
    uint32_t present = NUMBER | (r->cut ? EC_RAW_CUT : 0);
    size_t at = 0;
    while (r->control_size - at >= CMSG) {
        const uint8_t *head = r->control + at;
        uint64_t length = ec_u64(head);
        if (length < CMSG || length > r->control_size - at) break;
        if (ec_u32(head + 8) == (v6 ? LEVEL_IPV6 : LEVEL_IP))
            present |= item(out, v6, ec_u32(head + 12), head + CMSG, (size_t)length - CMSG);
        uint64_t step = (length + 7u) & ~(uint64_t)7u;
        if (step >= r->control_size - at) break;
        at += (size_t)step;
    }
    ec_put16(out + 6, (uint16_t)present);
    return present;
}
