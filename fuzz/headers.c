/* Headers and addresses: any bytes are walked without a fault; what is found lies in the packet and can be rewritten. */
#include <stdlib.h>

#include "anonymize.h"

#define ROOM 512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3) return 0;
    const uint16_t link = ec_be16(data);
    size_t room = data[2] < 8 ? data[2] : ROOM;
    data += 3, size -= 3;
    uint8_t *packet = malloc(size ? size : 1), *addresses = malloc(16 * ROOM);
    ec_field *fields = malloc(room * sizeof *fields + 1);
    if (!packet || !addresses || !fields) abort();
    memcpy(packet, data, size);
    const int64_t offset = 0;
    const uint32_t captured = (uint32_t)size;
    uint32_t kept = 0, without = 0;
    size_t row = 0, used = 0, none = 0;
    const int32_t how = ec_headers_walk(packet, size, &offset, &captured, &link, 1, &row, &kept, fields, room, &used);
    row = 0;
    if (ec_headers_walk(packet, size, &offset, &captured, &link, 1, &row, &without, NULL, 0, &none) != 0) abort();
    if (how < 0 || without > captured || (how == 0 && kept != without)) abort();
    if (how == 0) {
        if (ec_fields_read(packet, size, fields, used, addresses) != (int64_t)used) abort();
        for (size_t i = 0; i < 16 * used; i++) addresses[i] ^= 0x5A;
        if (ec_fields_write(packet, size, fields, used, addresses) != (int64_t)used) abort();
    }
    free(packet), free(addresses), free(fields);
    return 0;
}
