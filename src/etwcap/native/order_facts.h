/* What the headers of a packet say about its place among others: what it answers, what answers it. */
#ifndef ETWCAP_ORDER_FACTS_H
#define ETWCAP_ORDER_FACTS_H

#include "etwcap.h"

/* Roles: of no use here; a TCP segment; something that asks or answers; an ICMP error that quotes a packet, or a TCP
 * segment (key, way and seq are those of the quoted one). */
enum { EC_ORDER_NONE, EC_ORDER_TCP, EC_ORDER_TALK, EC_ORDER_ERROR, EC_ORDER_TCP_ERROR };
/* Sides, as bits: the machine received it, sent it. */
enum { EC_ORDER_RECEIVED = 1, EC_ORDER_SENT = 2 };
enum { EC_ORDER_BLOCKS = 4 };

typedef struct {
    uint64_t key;    /* TCP: the connection, one for both ways; else what is asked; 0: nothing */
    uint64_t answer; /* what is answered; of an error the packet it quotes */
    uint64_t quote;  /* by which an error would quote this packet (none of TCP) */
    uint32_t seq, end, ack;
    uint32_t sign;                      /* window and IP identification: of two copies of one segment equal */
    uint32_t stamp, echo;               /* TSval and TSecr (RFC 7323 3.2) */
    uint32_t sack[2 * EC_ORDER_BLOCKS]; /* edges of selectively acknowledged blocks */
    uint8_t role, side;
    uint8_t way;   /* of the connection: 1 when the sender's address and port are the greater ones */
    uint8_t flags; /* of TCP */
    uint8_t sacks; /* blocks */
    uint8_t stamped; /* whether the segment has a time stamp */
    uint8_t zero[2];
} ec_order_fact;

/* Facts of each packet. direction: 0 not known, 1 received, 2 sent. own: slots (a power of two, or 0) of a table of
 * ec_order_address of the machine's addresses, linear probing, 0 is empty. Returns the number of rows done: less than
 * rows where one lies outside the buffer. */
EC_API size_t ec_order_facts(const uint8_t *buffer, size_t size, const int64_t *offset, const uint32_t *captured,
                             const uint32_t *original, const uint16_t *link, const uint8_t *direction, size_t rows,
                             const uint64_t *own, size_t slots, ec_order_fact *facts);

/* Puts addresses (16 bytes each, IPv4 as ::ffff:a.b.c.d) into such a table, which has more slots than addresses. */
EC_API void ec_order_own(const uint8_t *addresses, size_t count, uint64_t *own, size_t slots);

/* Adds the n bytes at p to a hash; never gives 0. */
uint64_t ec_order_hash(uint64_t seed, const uint8_t *p, size_t n);

/* What a datagram asks or answers, by its ports and contents. */
typedef struct {
    const uint8_t *source, *target; /* addresses */
    size_t width;                   /* of an address */
    const uint8_t *p;               /* from the UDP header on */
    size_t n;                       /* bytes captured of it, 8 at least */
} ec_datagram;
void ec_order_datagram(const ec_datagram *d, ec_order_fact *fact);

#endif
