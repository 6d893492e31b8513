/* Positioned reads from an open file: a POSIX descriptor, or a Windows HANDLE (the C runtimes of Python and of this library
 * need not be the same, so descriptors cannot be shared there). */
#ifndef ETWCAP_FILE_H
#define ETWCAP_FILE_H

#include "etwcap.h"

/* Reads up to size bytes at offset; returns the bytes read (less only at the end of the file), or -1 on an error. */
int64_t ec_file_read(intptr_t handle, uint8_t *into, size_t size, int64_t offset);

#endif
