/* Questions and answers over UDP: where the packet itself says what it answers. */
#include "order_facts.h"

/* Seeds: the protocol. */
enum { DNS = 16, LOCAL_NAMES, NTP, DHCP, DHCP6, SNMP, RADIUS, TFTP_OPEN, TFTP_DATA, TFTP_ACK, STUN, RPC, IKE };
/* Which of the two is left out of the key, because a group was asked and one of its members answers. */
enum { BOTH, ASKER_ONLY };

typedef struct {
    const ec_datagram *d;
    ec_order_fact *fact;
} talk;

/* The key of what the sender (or, of an answer, the receiver) asks: protocol, its address and port, maybe those of the
 * other, and n bytes. */
static uint64_t key_of(const ec_datagram *d, uint64_t seed, int answers, int scope, const uint8_t *p, size_t n)
{
    const uint8_t *asker = answers ? d->target : d->source, *asked = answers ? d->source : d->target;
    const size_t asker_port = answers ? 2 : 0, asked_port = answers ? 0 : 2;
    uint64_t hash = ec_order_hash(seed, asker, d->width);
    hash = ec_order_hash(hash, d->p + asker_port, 2);
    if (scope == BOTH) {
        hash = ec_order_hash(hash, asked, d->width);
        hash = ec_order_hash(hash, d->p + asked_port, 2);
    }
    return ec_order_hash(hash, p, n);
}

static void put(const talk *t, uint64_t seed, int answers, int scope, const uint8_t *p, size_t n)
{
    const uint64_t key = key_of(t->d, seed, answers, scope, p, n);
    if (answers)
        t->fact->answer = key;
    else
        t->fact->key = key;
}

static int zeros(const uint8_t *p, size_t n)
{
    while (n && p[n - 1] == 0)
        n--;
    return n == 0;
}

/* RFC 1035 4.1.1; RFC 4795; RFC 1002 4.2.1.1 */
static void names(const talk *t, const uint8_t *p, size_t n, unsigned source, unsigned target)
{
    if (n < 12)
        return;
    const int answers = p[2] >> 7;
    const unsigned server = answers ? source : target;
    if (server == 53)
        put(t, DNS, answers, BOTH, p, 2);
    else if (server == 5355 || server == 137)
        put(t, LOCAL_NAMES << 16 | server, answers, ASKER_ONLY, p, 2);
}

/* RFC 5905 7.3: the server sends the client's transmit time back as origin time. */
static void network_time(const talk *t, const uint8_t *p, size_t n)
{
    if (n < 48)
        return;
    const unsigned mode = p[0] & 7;
    if (mode == 3 && !zeros(p + 40, 8))
        put(t, NTP, 0, BOTH, p + 40, 8);
    else if (mode == 4 && !zeros(p + 24, 8))
        put(t, NTP, 1, BOTH, p + 24, 8);
}

/* RFC 2131 2, RFC 2132 9.6: by the transaction id and the hardware address. */
static void dhcp(const talk *t, const uint8_t *p, size_t n)
{
    static const uint8_t cookie[4] = {99, 130, 83, 99};
    unsigned type = 0;
    if (n < 236 || p[0] < 1 || p[0] > 2)
        return;
    for (size_t i = 240; n >= 240 && memcmp(p + 236, cookie, 4) == 0 && i + 2 < n && p[i] != 255;) {
        if (p[i] == 0) {
            i++;
            continue;
        }
        if (p[i] == 53)
            type = p[i + 2];
        i += (size_t)p[i + 1] + 2;
    }
    const unsigned asked = type == 1 || type == 2 ? 1 : type == 0 ? 0 : 3;
    const uint64_t key = ec_order_hash(ec_order_hash(DHCP << 8 | asked, p + 4, 4), p + 28, 6);
    if (p[0] == 1 && (type == 0 || type == 1 || type == 3 || type == 8))
        t->fact->key = key;
    else if (p[0] == 2)
        t->fact->answer = key;
}

/* RFC 8415 8 */
static void dhcp6(const talk *t, const uint8_t *p, size_t n)
{
    if (n < 4 || p[0] < 1 || p[0] > 11 || p[0] == 10)
        return;
    const int answers = p[0] == 2 || p[0] == 7;
    put(t, DHCP6 << 8 | (p[0] <= 2 ? 1U : 3U), answers, ASKER_ONLY, p + 1, 3);
}

/* The contents of a BER value with that tag at *at; 0 where there is none. */
static size_t ber(const uint8_t *p, size_t n, size_t *at, unsigned tag)
{
    if (*at + 2 > n || p[*at] != tag)
        return 0;
    size_t size = p[*at + 1], head = 2;
    if (size & 0x80) {
        const size_t more = size & 0x7F;
        if (more < 1 || more > 3 || *at + 2 + more > n)
            return 0;
        size = 0;
        for (size_t i = 0; i < more; i++)
            size = size << 8 | p[*at + 2 + i];
        head += more;
    }
    *at += head;
    return size;
}

/* RFC 3416 3, RFC 3412 6: the request-id, of version 3 the msgID. */
static void snmp(const talk *t, const uint8_t *p, size_t n, unsigned source, unsigned target)
{
    size_t at = 0, size;
    if (!ber(p, n, &at, 0x30) || (size = ber(p, n, &at, 2)) != 1 || at >= n)
        return;
    const unsigned version = p[at];
    at += size;
    int answers = source == 161 && target != 161;
    if (version == 3) {
        if (!ber(p, n, &at, 0x30))
            return;
    } else {
        if (at + 2 > n || p[at] != 4)
            return;
        at += ber(p, n, &at, 4);
        if (at + 2 > n || p[at] < 0xA0 || p[at] > 0xA6 || p[at] == 0xA4)
            return;
        answers = p[at] == 0xA2;
        if (!ber(p, n, &at, p[at]))
            return;
    }
    size = ber(p, n, &at, 2);
    if (size && size <= 8 && at + size <= n)
        put(t, SNMP, answers, BOTH, p + at, size);
}

/* RFC 2865 3, RFC 2866 3, RFC 5176 2.3: code and identifier. */
static void radius(const talk *t, const uint8_t *p, size_t n)
{
    static const uint8_t asked[46] = {[2] = 1, [3] = 1, [5] = 4, [11] = 1, [41] = 40, [42] = 40, [44] = 43, [45] = 43};
    if (n < 20)
        return;
    const unsigned code = p[0], question = code < sizeof asked ? asked[code] : 0;
    if (question)
        put(t, RADIUS << 8 | question, 1, BOTH, p + 1, 1);
    else if (code == 1 || code == 4 || code == 40 || code == 43)
        put(t, RADIUS << 8 | code, 0, BOTH, p + 1, 1);
}

/* RFC 1350, RFC 2347: the server answers from a port of its own, so the first answer is known by the client alone. */
static void tftp(const talk *t, const uint8_t *p, size_t n)
{
    const unsigned kind = p[1], block = kind == 6 ? 0 : ec_be16(p + 2);
    const unsigned last = block ? block - 1 : 0xFFFF;
    const uint8_t before[2] = {(uint8_t)(last >> 8), (uint8_t)last};
    if ((kind == 3 && block == 1) || kind == 6 || (kind == 4 && n == 4 && block == 0))
        t->fact->answer = key_of(t->d, TFTP_OPEN, 1, ASKER_ONLY, p, 0);
    if (kind == 3) {
        t->fact->key = key_of(t->d, TFTP_DATA, 0, BOTH, p + 2, 2);
        if (block != 1)
            t->fact->answer = key_of(t->d, TFTP_ACK, 1, BOTH, before, 2);
    } else if (kind == 4 && n == 4) {
        t->fact->key = key_of(t->d, TFTP_ACK, 0, BOTH, p + 2, 2);
        if (block != 0)
            t->fact->answer = key_of(t->d, TFTP_DATA, 1, BOTH, p + 2, 2);
    }
}

/* RFC 7296 3.1: IKEv2 */
static void ike(const talk *t, const uint8_t *p, size_t n)
{
    if (n < 28 || p[17] >> 4 != 2)
        return;
    uint8_t id[13];
    memcpy(id, p, 8);
    id[8] = p[18];
    memcpy(id + 9, p + 20, 4);
    put(t, IKE, (p[19] & 0x20) != 0, BOTH, id, sizeof id);
}

void ec_order_datagram(const ec_datagram *d, ec_order_fact *fact)
{
    static const uint8_t stun_cookie[4] = {0x21, 0x12, 0xA4, 0x42};
    const talk t = {d, fact};
    const unsigned source = ec_be16(d->p), target = ec_be16(d->p + 2);
    const unsigned low = source < target ? source : target, high = source < target ? target : source;
    const uint8_t *p = d->p + 8;
    const size_t n = d->n - 8;
    if (n < 4)
        return;
    if (low == 53 || low == 137 || low == 5355 || high == 5355 || high == 53)
        names(&t, p, n, source, target);
    else if (low == 123)
        network_time(&t, p, n);
    else if (low == 67 || low == 68)
        dhcp(&t, p, n);
    else if (low == 546 || low == 547)
        dhcp6(&t, p, n);
    else if (low == 161 || low == 162)
        snmp(&t, p, n, source, target);
    else if (low == 69 || high == 69) {
        if (target == 69 && p[0] == 0 && (p[1] == 1 || p[1] == 2))
            fact->key = key_of(d, TFTP_OPEN, 0, ASKER_ONLY, p, 0);
    } else if (low == 111 || low == 2049 || high == 2049) {
        if (n >= 8 && ec_be16(p + 4) == 0 && p[6] == 0 && p[7] <= 1) /* RFC 5531 9 */
            put(&t, RPC, p[7], BOTH, p, 4);
    } else if (low == 500)
        ike(&t, p, n);
    else if (low == 4500 || high == 4500) {
        if (n > 4 && zeros(p, 4)) /* RFC 3948 2.2 */
            ike(&t, p + 4, n - 4);
    } else if (low == 1812 || low == 1813 || low == 1645 || low == 1646 || high == 1812 || high == 1813 || high == 1645 ||
               high == 1646 || low == 3799 || high == 3799)
        radius(&t, p, n);
    else if (n >= 20 && p[0] < 2 && memcmp(p + 4, stun_cookie, 4) == 0) { /* RFC 8489 5 */
        const unsigned kind = ec_be16(p) & 0x0110;
        if (kind != 0x0010)
            put(&t, STUN, kind != 0, BOTH, p + 8, 12);
    } else if (p[0] == 0 && (p[1] == 3 || p[1] == 4 || p[1] == 6) && low >= 1024)
        tftp(&t, p, n);
}
