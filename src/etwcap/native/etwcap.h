/* The plain C interface of the native core. Rules that every function here keeps:
 * sizes are size_t or int64_t counted in bytes or rows; every length is checked against what is left before it is
 * used; no count that comes from a file is trusted; nothing is allocated unless the name says so; no global state.
 * Policy stays in Python: these are loops. */
#ifndef ETWCAP_H
#define ETWCAP_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(_WIN32)
#define EC_API __declspec(dllexport)
#else
#define EC_API __attribute__((visibility("default")))
#endif

/* Raised with every change of a signature or of a shared struct; loader.py compares it. */
#define EC_ABI_VERSION 2

static inline uint16_t ec_u16(const uint8_t *p) { uint16_t v; memcpy(&v, p, sizeof v); return v; }
static inline uint32_t ec_u32(const uint8_t *p) { uint32_t v; memcpy(&v, p, sizeof v); return v; }
static inline uint64_t ec_u64(const uint8_t *p) { uint64_t v; memcpy(&v, p, sizeof v); return v; }
static inline int64_t ec_i64(const uint8_t *p) { int64_t v; memcpy(&v, p, sizeof v); return v; }
static inline void ec_put16(uint8_t *p, uint16_t v) { memcpy(p, &v, sizeof v); }
static inline void ec_put32(uint8_t *p, uint32_t v) { memcpy(p, &v, sizeof v); }
static inline void ec_put64(uint8_t *p, uint64_t v) { memcpy(p, &v, sizeof v); }
static inline uint16_t ec_be16(const uint8_t *p) { return (uint16_t)((uint16_t)(p[0] << 8) | p[1]); }

EC_API uint32_t ec_abi_version(void);

#endif
