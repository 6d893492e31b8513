#include "ipv6_shape.h"

/* ------------------------------------------------------------------------------------------------ transport ---- */

/* TCP options: +4 for each well-formed one of a known kind, at most 16; -6 where the list is broken. */
static int tcp_options(const uint8_t *p, size_t n)
{
    int bits = 0;
    size_t at = 0;
    while (at < n) {
        const uint8_t kind = p[at];
        if (kind == 0) {
            while (at < n)
                if (p[at++] != 0)
                    return bits > 0 ? bits - 2 : -4;
            bits += 2;
            break;
        }
        if (kind == 1) {
            at++;
            bits += 2;
            continue;
        }
        if (n - at < 2 || p[at + 1] < 2 || p[at + 1] > n - at)
            return -6;
        const size_t size = p[at + 1];
        int good = 0;
        switch (kind) {
        case 2: good = size == 4; break;
        case 3: good = size == 3; break;
        case 4: good = size == 2; break;
        case 5: good = size % 8 == 2 && size > 2; break;
        case 8: good = size == 10; break;
        case 19: good = size == 18; break;
        case 28: good = size == 4; break;
        case 29: good = size >= 4; break;
        case 30: good = size >= 3; break;
        case 34: good = size == 2 || (size >= 6 && size <= 18); break;
        default: break;
        }
        bits += good ? 8 : -4;
        at += size;
    }
    return bits > 16 ? 16 : bits < -6 ? -6 : bits;
}

int shape_tcp(const uint8_t *p, size_t n, size_t len)
{
    if (n < 14 || len < 20)
        return SHAPE_NO;
    const size_t header = (size_t)(p[12] >> 4) * 4;
    const uint32_t flags = p[13];
    const int syn = (flags & 2) != 0, fin = (flags & 1) != 0, rst = (flags & 4) != 0, ack = (flags & 16) != 0;
    int bits = header < 20 ? -16 : header > len ? -8 : header == len ? 4 : 1;
    bits += (p[12] & 0x0E) ? -3 : 3;
    if ((flags & 0x3F) == 0 || (syn && (fin || rst)) || (fin && rst))
        bits -= 6;
    else if (!ack && !syn && !rst)
        bits -= 2;
    else
        bits += 3;
    if (ec_be16(p) == 0 || ec_be16(p + 2) == 0)
        bits -= 6;
    if (!ack)
        bits += shape_be32(p + 8) == 0 ? 14 : -1;
    if (n >= 20) {
        if (!(flags & 0x20))
            bits += ec_be16(p + 18) == 0 ? 12 : -4;
        if (header > 20 && header <= n)
            bits += tcp_options(p + 20, header - 20);
    }
    return bits;
}

int shape_sctp(const uint8_t *p, size_t n, size_t len)
{
    if (n < 16 || len < 16 || ec_be16(p) == 0 || ec_be16(p + 2) == 0)
        return SHAPE_NO;
    int bits = 0;
    size_t at = 12;
    while (at < len) {
        if (n < at + 4)
            return bits;
        const uint32_t kind = p[at], size = ec_be16(p + at + 2);
        const int known = kind <= 14 || kind == 15 || kind == 64 || kind == 0x80 || kind == 0x81 || kind == 0x82 ||
                          kind == 0x84 || kind == 0xC0 || kind == 0xC1 || kind == 0xC2;
        if (size < 4 || size > len - at || !known)
            return bits > 0 ? bits - 8 : SHAPE_NO;
        bits += 5;
        if (kind == 0 && size > 16 && (p[at + 1] & 0xF0) == 0)
            bits += 3;
        at += (size + 3) & ~(size_t)3;
        if (at >= len) {
            bits += 12;
            break;
        }
    }
    return bits > 24 ? 24 : bits;
}

int shape_dccp(const uint8_t *p, size_t n, size_t len)
{
    static const uint8_t least[10] = {20, 28, 16, 24, 24, 28, 28, 24, 24, 24};
    if (n < 16 || len < 12)
        return SHAPE_NO;
    const uint32_t kind = (p[8] >> 1) & 15, extended = p[8] & 1;
    const size_t header = (size_t)p[4] * 4;
    if (kind > 9 || header > len || header < 12 || p[8] >> 5 != 0)
        return SHAPE_NO;
    int bits = 6;
    if (extended) {
        if (header < least[kind] || p[9] != 0)
            return SHAPE_NO;
        bits += 8;
    }
    if (kind != 2 && header == len)
        bits += 5;
    return bits;
}

/* ---------------------------------------------------------------------------------------------------- ICMPv6 ---- */

/* Options of Neighbor Discovery from at to the end. */
static int nd_options(const uint8_t *p, size_t n, size_t len, size_t at)
{
    if (at == len)
        return 4;
    int bits = 0;
    while (at < len) {
        if (n < at + 2)
            return bits;
        const size_t size = (size_t)p[at + 1] * 8;
        if (size == 0 || size > len - at)
            return bits - 4;
        bits += p[at] != 0 && p[at] < 40 ? 5 : -2;
        at += size;
    }
    return bits + 3 > 16 ? 16 : bits + 3;
}

static int icmpv6_error(const uint8_t *p, size_t n, size_t len)
{
    static const uint8_t codes[5] = {0, 8, 0, 2, 10};
    int bits = p[1] <= codes[p[0]] ? 6 : -4;
    if (p[0] == 1 || p[0] == 3)
        bits += shape_be32(p + 4) == 0 ? 12 : -3;
    else
        bits += ec_be16(p + 4) == 0 ? 7 : -2;
    if (n >= 9)
        bits += p[8] >> 4 == 6 ? 5 : -6;
    if (len >= 48)
        bits += 1;
    return bits;
}

static int mld_report(const uint8_t *p, size_t n, size_t len)
{
    int bits = ec_be16(p + 4) == 0 ? 10 : -3;
    uint32_t left = ec_be16(p + 6);
    size_t at = 8;
    while (left > 0 && at < len) {
        if (n < at + 20)
            return bits;
        if (p[at] < 1 || p[at] > 6 || p[at + 4] != 0xFF)
            return bits - 6;
        bits += bits < 24 ? 8 : 0;
        at += 20 + (size_t)p[at + 1] * 4 + (size_t)ec_be16(p + at + 2) * 16;
        left--;
    }
    return bits + (left == 0 && at == len ? 6 : -4);
}

int shape_icmpv6(const uint8_t *p, size_t n, size_t len, int hop_limit)
{
    if (n < 4 || len < 4)
        return SHAPE_NO;
    if (n < 8)
        return p[0] >= 1 && (p[0] <= 4 || (p[0] >= 128 && p[0] <= 161)) && p[1] == 0 ? 6 : -8;
    const uint32_t type = p[0], code = p[1];
    int bits = 3, nd = 0;
    if (type >= 1 && type <= 4)
        return bits + icmpv6_error(p, n, len);
    if (type == 128 || type == 129)
        return bits + (code == 0 ? 8 : -2);
    bits += code == 0 ? 7 : type == 155 || type == 138 || type == 139 || type == 140 || type == 157 || type == 158 ? 1
                                                                                                                  : -3;
    switch (type) {
    case 130:
        bits += len == 24 || len >= 28 ? 2 : -6;
        bits += ec_be16(p + 6) == 0 ? 8 : -3;
        break;
    case 131:
    case 132:
        bits += len == 24 ? 4 : -4;
        bits += shape_be32(p + 4) == 0 ? 14 : -4;
        bits += n >= 9 && p[8] == 0xFF ? 6 : -3;
        break;
    case 133:
        nd = 1;
        bits += shape_be32(p + 4) == 0 ? 14 : -3;
        bits += nd_options(p, n, len, 8);
        break;
    case 134:
        nd = 1;
        bits += len < 16 ? -8 : nd_options(p, n, len, 16) + ((p[5] & 3) == 0 ? 2 : 0);
        break;
    case 135:
    case 136:
        nd = 1;
        bits += len < 24 ? -8 : nd_options(p, n, len, 24);
        bits += (shape_be32(p + 4) & (type == 136 ? 0x1FFFFFFFu : 0xFFFFFFFFu)) == 0 ? 14 : -3;
        bits += n >= 9 && p[8] == 0xFF ? -4 : 0;
        break;
    case 137:
        nd = 1;
        bits += len < 40 ? -8 : nd_options(p, n, len, 40);
        bits += shape_be32(p + 4) == 0 ? 14 : -3;
        break;
    case 138: bits += len >= 16 ? 2 : -6; break;
    case 139:
    case 140: bits += len >= 16 && code <= 2 ? 6 : -4; break;
    case 141:
    case 142:
        nd = 1;
        bits += shape_be32(p + 4) == 0 ? 14 : -3;
        bits += nd_options(p, n, len, 8);
        break;
    case 143: bits += mld_report(p, n, len); break;
    case 144:
    case 145:
    case 146:
    case 147: bits += 2; break;
    case 148:
    case 149:
    case 151:
    case 152:
    case 153:
    case 154: bits += 1; break;
    case 155:
        bits += code <= 8 || (code >= 0x80 && code <= 0x8A) ? 6 : -3;
        break;
    case 157:
    case 158: bits += len >= 16 ? 4 : -4; break;
    case 160:
    case 161: bits += 1; break;
    default: bits -= 5; break;
    }
    if (nd && hop_limit >= 0)
        bits += hop_limit == 255 ? 5 : -5;
    return bits < -6 ? -6 : bits;
}

/* --------------------------------------------------------------------------------------------------- routing ---- */

int shape_ospf(const uint8_t *p, size_t n, size_t len)
{
    if (n < 16 || p[0] != 3 || p[1] < 1 || p[1] > 5)
        return SHAPE_NO;
    const size_t size = ec_be16(p + 2);
    int bits = 8 + 5;
    bits += size == len ? 16 : size >= 16 && size < len ? 6 : -6;
    bits += p[15] == 0 ? 8 : -3;
    return bits;
}

int shape_pim(const uint8_t *p, size_t n, size_t len)
{
    if (n < 4 || len < 4 || p[0] >> 4 != 2 || (p[0] & 15) > 13)
        return SHAPE_NO;
    const uint32_t kind = p[0] & 15;
    int bits = 4 + (p[1] == 0 ? 8 : -4);
    if (kind == 0 && n == len) {
        size_t at = 4;
        while (len - at >= 4 && (size_t)ec_be16(p + at + 2) + 4 <= len - at) {
            bits += ec_be16(p + at) <= 40 && bits < 28 ? 8 : 0;
            at += (size_t)ec_be16(p + at + 2) + 4;
        }
        bits += at == len ? 6 : -4;
    } else if (kind == 1) {
        bits += len < 8 ? -8 : n >= 8 && (shape_be32(p + 4) & 0x3FFFFFFFu) == 0 ? 14 : -4;
        if (n >= 28 && len > 28)
            bits += shape_ip(p + 8, n - 8, len - 8) > 0 ? 8 : -4;
    } else if (n >= 6 && (kind == 3 || (kind >= 4 && kind <= 8))) {
        bits += p[4] == 2 || p[4] == 1 ? 6 : 0; /* an encoded address: its family */
        bits += p[5] == 0 ? 4 : 0;
    }
    return bits;
}

int shape_vrrp(const uint8_t *p, size_t n, size_t len)
{
    if (n < 8 || len < 8)
        return SHAPE_NO;
    if (p[0] == 0x31)
        return 8 + (p[3] >= 1 && len == 8 + (size_t)p[3] * 16 ? 14 : p[3] >= 1 && len == 8 + (size_t)p[3] * 4 ? 10 : -6) +
               (p[1] != 0 ? 1 : -4) + (p[4] >> 4 == 0 ? 3 : -2);
    if (p[0] == 0x21 && len == 36 && p[3] == 7)
        return 24; /* CARP */
    if (p[0] == 0x21)
        return 4 + (p[3] >= 1 && (len == 16 + (size_t)p[3] * 16 || len == 8 + (size_t)p[3] * 16) ? 14 : -6);
    return SHAPE_NO;
}

int shape_eigrp(const uint8_t *p, size_t n, size_t len)
{
    if (n < 20 || p[0] != 2 || p[1] < 1 || p[1] > 12)
        return SHAPE_NO;
    int bits = 8 + 4 + (shape_be32(p + 4) < 32 ? 20 : -4);
    if (n == len) {
        size_t at = 20;
        while (len - at >= 4 && ec_be16(p + at + 2) >= 4 && ec_be16(p + at + 2) <= len - at)
            at += ec_be16(p + at + 2);
        bits += at == len ? 6 : -6;
    }
    return bits;
}

int shape_rsvp(const uint8_t *p, size_t n, size_t len)
{
    if (n < 8 || p[0] >> 4 != 1 || p[1] < 1 || p[1] > 35)
        return SHAPE_NO;
    return 4 + 2 + (ec_be16(p + 6) == len ? 16 : -8) + (p[5] == 0 ? 8 : -4) + (len % 4 == 0 ? 2 : -4);
}

/* --------------------------------------------------------------------------------------------------- tunnels ---- */

int shape_ip(const uint8_t *p, size_t n, size_t len)
{
    if (n < 20 || len < 20)
        return SHAPE_NO;
    if (p[0] >> 4 == 6) {
        const size_t size = (size_t)ec_be16(p + 4) + 40;
        if (n < 40 || len < 40)
            return SHAPE_NO;
        int bits = 4 + (size == len ? 16 : size == 40 || size < len ? 3 : -6);
        bits += p[6] == 6 || p[6] == 17 || p[6] == 58 ? 6 : p[6] == 0 || p[6] == 44 || p[6] == 4 || p[6] == 41 || p[6] == 59 ? 3 : 0;
        bits += p[8] == 0xFF ? -6 : 0;
        return bits;
    }
    if (p[0] >> 4 == 4) {
        const size_t header = (size_t)(p[0] & 15) * 4, size = ec_be16(p + 2);
        if (header < 20 || header > len)
            return SHAPE_NO;
        int bits = 4 + (header == 20 ? 3 : 0);
        bits += size == len ? 16 : size == 0 || (size >= header && size < len) ? 3 : -6;
        if (header <= n) {
            uint32_t sum = 0;
            for (size_t i = 0; i < header; i += 2)
                sum += ec_be16(p + i);
            bits += sum % 65535 == 0 ? 15 : -5;
        }
        return bits;
    }
    return SHAPE_NO;
}

int shape_ethernet(const uint8_t *p, size_t n, size_t len)
{
    size_t at = 14;
    if (n < 14)
        return SHAPE_NO;
    uint32_t kind = ec_be16(p + 12);
    int bits = 0;
    for (int tags = 0; tags < 2 && (kind == 0x8100 || kind == 0x88A8) && n >= at + 4; tags++) {
        kind = ec_be16(p + at + 2);
        at += 4;
        bits += 8;
    }
    if (kind == 0x0800 || kind == 0x86DD) {
        if (n < at + 20)
            return bits + 10;
        if (p[at] >> 4 != (kind == 0x0800 ? 4 : 6))
            return SHAPE_NO;
        const int inner = shape_ip(p + at, n - at, len - at);
        return inner < 0 ? bits - 4 : bits + 12 + inner;
    }
    if (kind == 0x0806)
        return n >= at + 6 && ec_be16(p + at) == 1 && ec_be16(p + at + 2) == 0x0800 ? bits + 30 : bits;
    if (kind == 0x88CC || kind == 0x8847 || kind == 0x8863 || kind == 0x8864 || kind == 0x888E || kind == 0x9000)
        return bits + 10;
    if (kind <= 1500 && n >= at + 3 && kind <= len - at)
        return (p[at] == 0x42 && p[at + 1] == 0x42) || (p[at] == 0xAA && p[at + 1] == 0xAA) ||
                       (p[at] == 0xFE && p[at + 1] == 0xFE)
                   ? bits + 16
                   : -4;
    return -4;
}

int shape_gre(const uint8_t *p, size_t n, size_t len)
{
    if (n < 4 || len < 4)
        return SHAPE_NO;
    const uint32_t flags = ec_be16(p), kind = ec_be16(p + 2);
    const size_t header = 4 + ((flags & 0xC000) ? 4u : 0u) + ((flags & 0x2000) ? 4u : 0u) + ((flags & 0x1000) ? 4u : 0u) +
                          ((flags & 0x0080) ? 4u : 0u);
    if ((flags & 7) > 1 || header > len)
        return SHAPE_NO;
    int bits = (flags & 0x0F78) == 0 ? 8 : (flags & 0x0078) == 0 ? 0 : -6;
    if ((flags & 7) == 1)
        return kind == 0x880B && (flags & 0x2000) ? bits + 18 : SHAPE_NO;
    if (flags & 0x0080)
        bits -= 4;
    switch (kind) {
    case 0x0800:
    case 0x86DD:
        bits += 12;
        if (n >= header + 20) {
            const int inner = p[header] >> 4 == (kind == 0x0800 ? 4 : 6) ? shape_ip(p + header, n - header, len - header) : -8;
            bits += inner < -8 ? -8 : inner;
        }
        return bits;
    case 0x6558: {
        bits += 12;
        if (n >= header + 14) {
            const int inner = shape_ethernet(p + header, n - header, len - header);
            bits += inner < -4 ? -4 : inner;
        }
        return bits;
    }
    case 0x8847:
    case 0x8848: return bits + 12;
    case 0x88BE:
    case 0x22EB: return bits + 12;
    case 0x2000:
    case 0x2001:
    case 0x00FE:
    case 0x880B: return bits + 10;
    case 0: return bits + (len == header ? 14 : -6);
    default: return bits - 10;
    }
}

int shape_l2tp(const uint8_t *p, size_t n, size_t len)
{
    if (n < 12)
        return SHAPE_NO;
    if (shape_be32(p) == 0)
        return (p[4] & 0xF7) == 0xC0 && (p[5] & 15) == 3 ? 24 + (ec_be16(p + 6) == len - 4 ? 12 : 0)
               : ec_be16(p + 4) == 0xC803                ? 24
                                                         : SHAPE_NO;
    int best = SHAPE_NO;
    for (size_t at = 4; at <= 16; at += 4) {
        if (n < at + 14)
            break;
        const int inner = shape_ethernet(p + at, n - at, len - at);
        if (inner > best)
            best = inner;
    }
    return best < 10 ? SHAPE_NO : best > 26 ? 26 : best;
}

int shape_mpls(const uint8_t *p, size_t n, size_t len)
{
    int bits = 0;
    for (size_t at = 0; at < 32 && at + 4 <= n; at += 4) {
        const uint32_t entry = shape_be32(p + at), label = entry >> 12;
        if ((entry & 0xFF) == 0 || (label > 3 && label < 16 && label != 7 && label != 13 && label != 14))
            return SHAPE_NO;
        if (entry & 0x100) {
            const int inner = shape_ip(p + at + 4, n - at - 4, len - at - 4);
            return inner > 8 ? bits + inner : SHAPE_NO;
        }
    }
    return SHAPE_NO;
}

/* ------------------------------------------------------------------------------------------ extension headers ---- */

static int known_next_header(uint32_t value)
{
    switch (value) {
    case 6:
    case 17:
    case 58: return 6;
    case 0:
    case 4:
    case 41:
    case 43:
    case 44:
    case 47:
    case 50:
    case 51:
    case 59:
    case 60:
    case 89:
    case 103:
    case 112:
    case 132:
    case 33:
    case 135:
    case 136:
    case 108:
    case 115: return 3;
    default: return 0;
    }
}

int shape_fragment(const uint8_t *p, size_t n, size_t len)
{
    if (n < 8 || len < 8 || p[1] != 0)
        return SHAPE_NO;
    const uint32_t place = ec_be16(p + 2), start = place & 0xFFF8u;
    const int known = known_next_header(p[0]);
    int bits = 8 + (known ? known : -4) + ((place & 6) == 0 ? 2 : -4);
    if (place & 1)
        bits += len % 8 == 0 ? 3 + (len > 1000 ? 3 : 0) : -4;
    if (start > 0)
        return bits + (start + len - 8 <= 65535 ? 1 : -4);
    int inner = 0;
    if (p[0] == 17 && n >= 16)
        inner = ec_be16(p + 12) == len - 8 ? 16 : (place & 1) && ec_be16(p + 12) > len - 8 ? 4 : -2;
    else if (p[0] == 6 && n >= 22)
        inner = shape_tcp(p + 8, n - 8, len - 8);
    else if (p[0] == 58 && n >= 16)
        inner = shape_icmpv6(p + 8, n - 8, len - 8, -1);
    return bits + (inner < -8 ? -8 : inner > 14 ? 14 : inner);
}

int shape_ipcomp(const uint8_t *p, size_t n, size_t len)
{
    if (n < 4 || len < 5 || p[1] != 0)
        return SHAPE_NO;
    const uint32_t index = ec_be16(p + 2);
    const int known = known_next_header(p[0]);
    if (known == 0 || index < 1 || index > 4)
        return SHAPE_NO;
    return 8 + known + 12;
}

static int inner_ip(const uint8_t *p, size_t n, uint8_t *from, uint8_t *to)
{
    memset(from, 0, 16);
    memset(to, 0, 16);
    if (n >= 20 && p[0] >> 4 == 4) {
        memcpy(from + 12, p + 12, 4);
        memcpy(to + 12, p + 16, 4);
        return p[16] < 224;
    }
    if (n >= 40 && p[0] >> 4 == 6) {
        memcpy(from, p + 8, 16);
        memcpy(to, p + 24, 16);
        return p[24] != 0xFF;
    }
    return 0;
}

static int inner_frame(const uint8_t *p, size_t n, uint8_t *from, uint8_t *to)
{
    if (n < 14 || (p[0] & 1))
        return 0;
    const uint32_t kind = ec_be16(p + 12);
    if ((kind == 0x0800 || kind == 0x86DD) && inner_ip(p + 14, n - 14, from, to))
        return 1;
    memset(from, 0, 16);
    memset(to, 0, 16);
    memcpy(to + 10, p, 6);
    memcpy(from + 10, p + 6, 6);
    return 1;
}

int shape_inner(uint32_t protocol, const uint8_t *p, size_t n, uint8_t *from, uint8_t *to)
{
    if (n < 20)
        return 0;
    switch (protocol) {
    case 4:
    case 41: return inner_ip(p, n, from, to);
    case 97: return inner_frame(p + 2, n - 2, from, to);
    case 143: return inner_frame(p, n, from, to);
    case 47: {
        const uint32_t flags = ec_be16(p), kind = ec_be16(p + 2);
        const size_t header = 4 + ((flags & 0xC000) ? 4u : 0u) + ((flags & 0x2000) ? 4u : 0u) + ((flags & 0x1000) ? 4u : 0u);
        if (kind == 0x0800 || kind == 0x86DD)
            return inner_ip(p + header, n - header, from, to);
        return kind == 0x6558 && inner_frame(p + header, n - header, from, to);
    }
    case 115: {
        size_t best = 0;
        int most = 0;
        for (size_t at = 4; at <= 16 && n >= at + 14; at += 4) {
            const int bits = shape_ethernet(p + at, n - at, n - at);
            if (bits > most) {
                most = bits;
                best = at;
            }
        }
        return shape_be32(p) != 0 && best != 0 && inner_frame(p + best, n - best, from, to);
    }
    case 137:
        for (size_t at = 0; at < 32 && at + 4 <= n; at += 4)
            if (p[at + 2] & 1)
                return inner_ip(p + at + 4, n - at - 4, from, to);
        return 0;
    default: return 0;
    }
}
