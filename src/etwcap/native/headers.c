#include "headers_walk.h"

/* LINKTYPE_ values, https://www.tcpdump.org/linktypes.html */
enum { NULL_LINK = 0, ETHERNET = 1, RAW_IP = 101, WIFI = 105, LOOP = 108, LINUX_SLL = 113, RADIOTAP = 127, IPV4_LINK = 228,
       IPV6_LINK = 229, UPPER_PDU = 252, LINUX_SLL2 = 276 };

static const uint8_t snap[6] = {0xAA, 0xAA, 0x03, 0, 0, 0};

int64_t ec_add_field(ec_walk *w, uint8_t kind, size_t at)
{
    const size_t whole = kind == EC_IPV6 ? 16 : kind == EC_IPV4 ? 4 : 6;
    if (w->fields == NULL || at >= w->n)
        return EC_NO_FIELD;
    if (w->used == w->room) {
        w->full = 1;
        return EC_NO_FIELD;
    }
    ec_field *field = w->fields + w->used;
    memset(field, 0, sizeof *field);
    field->position = w->base + (int64_t)at;
    field->kind = kind;
    field->size = (uint8_t)ec_least(whole, w->n - at);
    if (field->size == whole && w->outer)
        field->outer = (int32_t)((int64_t)w->outer - (int64_t)at);
    return (int64_t)w->used++;
}

/* LLC: with SNAP and no organisation it is an EtherType's packet. */
static void walk_llc(ec_walk *w, size_t at, size_t end)
{
    if (end > at && end - at >= 8 && memcmp(w->p + at, snap, sizeof snap) == 0)
        ec_walk_network(w, ec_be16(w->p + at + 6), at + 8, end);
}

void ec_walk_ethernet(ec_walk *w, size_t at)
{
    ec_add_field(w, EC_MAC, at);
    ec_add_field(w, EC_MAC, at + 6);
    w->kept = at + 14;
    if (!ec_has(w, at, 14))
        return;
    const unsigned type = ec_be16(w->p + at + 12);
    if (type > 1500)
        ec_walk_network(w, type, at + 14, w->n);
    else
        walk_llc(w, at + 14, ec_least(w->n, at + 14 + type));
}

/* The frames of an A-MSDU (IEEE 802.11-2020 9.3.2.2.2). */
static void walk_amsdu(ec_walk *w, size_t at)
{
    while (at < w->n) {
        ec_add_field(w, EC_MAC, at);
        ec_add_field(w, EC_MAC, at + 6);
        w->kept = at + 14;
        if (!ec_has(w, at, 14))
            return;
        const size_t size = ec_be16(w->p + at + 12);
        walk_llc(w, at + 14, ec_least(w->n, at + 14 + size));
        at += (14 + size + 3) & ~(size_t)3;
    }
}

/* IEEE 802.11-2020 9.2.3, 9.3.1 */
static void walk_wifi(ec_walk *w, size_t at)
{
    w->kept = at + 10;
    ec_add_field(w, EC_MAC, at + 4);
    if (!ec_has(w, at, 2))
        return;
    const unsigned control = w->p[at], flags = w->p[at + 1], kind = control & 0x0C;
    if (kind == 0x04 && (control == 0xC4 || control == 0xD4)) /* CTS, Ack */
        return;
    ec_add_field(w, EC_MAC, at + 10);
    w->kept = at + 16;
    if (kind == 0x04)
        return;
    ec_add_field(w, EC_MAC, at + 16);
    w->kept = at + 24;
    if (kind == 0x0C || (kind == 0 && !(flags & 0x80)))
        return;
    size_t header = 24;
    const int four = kind == 0x08 && (flags & 3) == 3, qos = kind == 0x08 && (control & 0x80);
    if (four) {
        ec_add_field(w, EC_MAC, at + 24);
        header += 6;
    }
    const size_t qos_at = at + header;
    header += qos ? 2 : 0;
    header += (qos || kind == 0) && (flags & 0x80) ? 4 : 0;
    w->kept = at + header;
    if (kind != 0x08 || (control & 0x40) || !ec_has(w, at, header))
        return;
    if (qos && (w->p[qos_at] & 0x80) && !(flags & 0x40))
        walk_amsdu(w, at + header);
    else
        walk_llc(w, at + header, w->n);
}

/* Wireshark's exported PDU: tags until tag 0; 20 to 23 are addresses. */
static void walk_upper_pdu(ec_walk *w)
{
    size_t at = 0;
    while (ec_has(w, at, 4)) {
        const unsigned tag = ec_be16(w->p + at), size = ec_be16(w->p + at + 2);
        if ((tag == 20 || tag == 21) && size == 4)
            ec_add_field(w, EC_IPV4, at + 4);
        if ((tag == 22 || tag == 23) && size == 16)
            ec_add_field(w, EC_IPV6, at + 4);
        at += 4 + (size_t)size;
        w->kept = at;
        if (tag == 0)
            return;
    }
    w->kept = w->n;
}

static void walk_cooked(ec_walk *w, size_t size_at, size_t address, size_t type_at, size_t header)
{
    w->kept = header;
    if (!ec_has(w, 0, header))
        return;
    if (w->p[size_at] == 6)
        ec_add_field(w, EC_MAC, address);
    ec_walk_network(w, ec_be16(w->p + type_at), header, w->n);
}

static void walk_link(ec_walk *w, unsigned link)
{
    switch (link) {
    case ETHERNET:
        ec_walk_ethernet(w, 0);
        break;
    case RAW_IP:
    case IPV4_LINK:
    case IPV6_LINK:
        ec_walk_ip(w, 0, w->n);
        break;
    case WIFI:
        walk_wifi(w, 0);
        break;
    case RADIOTAP:
        if (ec_has(w, 0, 4)) {
            const size_t header = w->p[2] | (size_t)w->p[3] << 8;
            w->kept = header;
            if (header >= 8 && header <= w->n)
                walk_wifi(w, header);
        }
        break;
    case NULL_LINK:
    case LOOP:
        w->kept = 4;
        if (w->n > 4)
            ec_walk_ip(w, 4, w->n);
        break;
    case LINUX_SLL:
        walk_cooked(w, 5, 6, 14, 16);
        break;
    case LINUX_SLL2:
        walk_cooked(w, 11, 12, 0, 20);
        break;
    case UPPER_PDU:
        walk_upper_pdu(w);
        break;
    default:
        break;
    }
}

int32_t ec_headers_walk(const uint8_t *buffer, size_t size, const int64_t *offset, const uint32_t *captured,
                        const uint16_t *link, size_t rows, size_t *row, uint32_t *kept, ec_field *fields, size_t room,
                        size_t *used)
{
    for (; *row < rows; ++*row) {
        const size_t i = *row;
        if (offset[i] < 0 || (uint64_t)offset[i] > size || captured[i] > size - (size_t)offset[i])
            return -1;
        ec_walk walk = {.p = buffer + offset[i], .n = captured[i], .base = offset[i], .fields = fields, .room = room,
                        .used = *used};
        walk_link(&walk, link[i]);
        if (walk.full)
            return 1;
        kept[i] = (uint32_t)ec_least(walk.kept, walk.n);
        *used = walk.used;
    }
    return 0;
}
