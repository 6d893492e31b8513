/* What the walkers of headers share: the packet under way. */
#ifndef ETWCAP_HEADERS_WALK_H
#define ETWCAP_HEADERS_WALK_H

#include "headers.h"

typedef struct {
    const uint8_t *p;
    size_t n;
    int64_t base; /* of p in the buffer */
    ec_field *fields;
    size_t room, used;
    int full;
    size_t kept;
    size_t outer; /* checksum of the message that quotes what is walked now; 0: none */
    int depth;    /* packets within packets */
} ec_walk;

enum { EC_NO_FIELD = -1, EC_DEEPEST = 6 };

static inline size_t ec_least(size_t a, size_t b) { return a < b ? a : b; }
/* Whether size bytes at that place were captured. */
static inline int ec_has(const ec_walk *w, size_t at, size_t size) { return at <= w->n && size <= w->n - at; }

/* Adds an address of so many bytes; gives its number, EC_NO_FIELD where nothing of it was captured. */
int64_t ec_add_field(ec_walk *w, uint8_t kind, size_t at);

/* Walks the packet of an EtherType at a place; it ends at end (<= w->n). */
void ec_walk_network(ec_walk *w, unsigned type, size_t at, size_t end);
void ec_walk_ethernet(ec_walk *w, size_t at);
void ec_walk_ip(ec_walk *w, size_t at, size_t end);

#endif
