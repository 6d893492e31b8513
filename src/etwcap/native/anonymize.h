/* Reading addresses out of packets, and putting others in their place. */
#ifndef ETWCAP_ANONYMIZE_H
#define ETWCAP_ANONYMIZE_H

#include "headers.h"

/* Copies the captured bytes of each address to out (16 bytes a row, the rest zero). Returns rows, or -(i + 1) for the
 * first field that does not lie inside the buffer. */
EC_API int64_t ec_fields_read(const uint8_t *buffer, size_t size, const ec_field *fields, size_t rows, uint8_t *out);

/* Puts addresses (16 bytes a row, the first fields[i].size of them) in place and updates the checksums over them (RFC
 * 1624): a right one stays right, a wrong one wrong by as much. Returns as above; nothing of that field or a later one
 * is changed then. */
EC_API int64_t ec_fields_write(uint8_t *buffer, size_t size, const ec_field *fields, size_t rows,
                               const uint8_t *addresses);

#endif
