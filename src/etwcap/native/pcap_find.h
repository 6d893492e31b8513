/* Where the records of a damaged pcap file go on. */
#ifndef ETWCAP_PCAP_FIND_H
#define ETWCAP_PCAP_FIND_H

#include "etwcap.h"

/* Bytes that a chain of records must span to be certain: more than any packet that could carry one as its payload. */
#define EC_PCAP_CERTAIN 524288u
/* Packets below this are few (an 802.11 acknowledgement has 10 bytes) and zeros look like them: in the search they need a time, and
 * to be its first one a time near the packet before. */
#define EC_PCAP_LEAST 10u
/* The longest step of time (s), back and forth, between records that follow each other. */
#define EC_PCAP_STEP 604800u

typedef struct ec_pcap_form {
    uint32_t swapped; /* the file's byte order is not the machine's */
    uint32_t scale;   /* ns per unit of the fraction */
    uint32_t header;  /* bytes of a record header, 16 at least */
    uint32_t limit;   /* longest packet */
    uint32_t either;  /* its two lengths stand in either order: the smaller one is the captured length */
} ec_pcap_form;

typedef struct ec_pcap_lengths {
    uint32_t captured, original;
} ec_pcap_lengths;

/* The lengths that a record header at p (16 bytes) tells. */
ec_pcap_lengths ec_pcap_lengths_at(const ec_pcap_form *form, const uint8_t *p);

/* Whether a record header as every writer makes it stands at p (16 bytes), `before` being the seconds of the record before it. A
 * packet may be empty; 16 zeros are none. */
int ec_pcap_regular(const ec_pcap_form *form, const uint8_t *p, uint32_t before);

/* The first place in buffer[from..until) from which regular records lead, one after another, exactly to `size` where `ends` says
 * that the file ends there (and the first has a time near `before`, seconds; UINT32_MAX: not known), or over EC_PCAP_CERTAIN bytes at
 * least; `size` where there is none. reach: scratch, one u32 for each byte of buffer[from..size). */
EC_API size_t ec_pcap_find(const ec_pcap_form *form, const uint8_t *buffer, size_t size, size_t from, size_t until,
                           uint32_t ends, uint32_t before, uint32_t *reach);

#endif
