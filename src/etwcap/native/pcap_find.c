#include "pcap_find.h"

static uint32_t get32(const uint8_t *p, uint32_t swapped)
{
    const uint32_t v = ec_u32(p);
    return swapped ? v << 24 | (v & 0xFF00u) << 8 | (v >> 8 & 0xFF00u) | v >> 24 : v;
}

ec_pcap_lengths ec_pcap_lengths_at(const ec_pcap_form *f, const uint8_t *p)
{
    const ec_pcap_lengths said = {get32(p + 8, f->swapped), get32(p + 12, f->swapped)};
    if (f->either && said.captured > said.original)
        return (ec_pcap_lengths){said.original, said.captured};
    return said;
}

static int whole(const ec_pcap_form *f, const uint8_t *p)
{
    const ec_pcap_lengths packet = ec_pcap_lengths_at(f, p);
    return packet.captured <= f->limit && packet.original >= packet.captured &&
           (uint64_t)get32(p + 4, f->swapped) * f->scale < 1000000000u;
}

/* Whether the time is at most EC_PCAP_STEP from `before`. */
static int close_to(const ec_pcap_form *f, const uint8_t *p, uint32_t before)
{
    const uint32_t seconds = get32(p, f->swapped);
    return (seconds > before ? seconds - before : before - seconds) <= EC_PCAP_STEP;
}

int ec_pcap_regular(const ec_pcap_form *f, const uint8_t *p, uint32_t before)
{
    return close_to(f, p, before) && whole(f, p) && (ec_pcap_lengths_at(f, p).original > 0 || get32(p, f->swapped) > 0);
}

size_t ec_pcap_find(const ec_pcap_form *f, const uint8_t *buffer, size_t size, size_t from, size_t until, uint32_t ends,
                    uint32_t before, uint32_t *reach)
{
    size_t found = size;
    if (f->header < 16 || from >= size || size - from < f->header || size - from > UINT32_MAX)
        return size;
    const uint32_t end = (uint32_t)(size - from);
    /* backwards: reach[i] is how far (from `from`) the chain at i leads, 0 where none begins */
    for (uint32_t i = end; i > 0;) {
        i--;
        const uint8_t *p = buffer + from + i;
        reach[i] = 0;
        if (end - i < f->header || !whole(f, p))
            continue;
        const uint32_t captured = ec_pcap_lengths_at(f, p).captured;
        const int tiny = captured < EC_PCAP_LEAST;
        if (tiny && get32(p, f->swapped) == 0)
            continue;
        const uint64_t next = (uint64_t)i + f->header + captured;
        if (next > end || (next < end && end - next < 16)) {
            reach[i] = next > end ? 0 : (uint32_t)next;
        } else if (next == end) {
            reach[i] = end;
        } else {
            const uint8_t *after = buffer + from + next;
            const int goes_on = ec_pcap_regular(f, after, get32(p, f->swapped)) && reach[next];
            reach[i] = goes_on ? reach[next] : (uint32_t)next;
        }
        if (reach[i] == 0 || from + i >= until)
            continue;
        const int known = before != UINT32_MAX, close = known && close_to(f, p, before);
        if (tiny && !close)
            continue;
        if ((ends && reach[i] == end && (close || !known)) || reach[i] - i >= EC_PCAP_CERTAIN)
            found = from + i;
    }
    return found;
}
