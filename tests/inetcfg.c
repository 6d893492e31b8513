/* ole32.dll with one class, INetCfg, for tests: two adapters to which the driver "ms_ndiscap" can be bound.
 * Objects have their functions where netcfgx.h has them, and are counted, so that a test sees what was not given back.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef int32_t hr;
typedef struct object object;
struct object { void **table; int32_t references; int32_t index; };
enum { S_OK = 0, S_FALSE = 1 };
#define FAILED_WITH(code) ((hr)(uint32_t)(code))

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT
#endif

/* what a test sets and reads */
EXPORT int32_t objects, apartments, initialised, locked, enabled[2], wanted[2], applied, cancelled, released;
EXPORT int32_t not_registered, not_installed, held, upwards, apply_gives, enable_gives, adapters_unknown;
EXPORT uint16_t asked_for[64], locked_by[64];

static void *tables[8][16];
enum { CONFIG, LOCK, COMPONENT, BINDINGS, PATHS, PATH, LINKS, LINK };

static object *made(int kind, int index) {
  object *o = calloc(1, sizeof *o);
  o->table = tables[kind]; o->references = 1; o->index = index;
  objects++;
  return o;
}
static uint16_t *text(const char *ascii) {
  size_t n = strlen(ascii) + 1;
  uint16_t *copy = calloc(n, 2);
  for (size_t i = 0; i < n; i++) copy[i] = (uint8_t)ascii[i];
  objects++;
  return copy;
}
static void keep(uint16_t *room, const uint16_t *given) {
  for (int i = 0; i < 63 && (room[i] = given[i]); i++) { }
}
static const uint8_t TAIL[12] = {0x6e, 0x30, 0xd1, 0x11, 0xaa, 0xcf, 0x00, 0x80, 0x5f, 0xc1, 0x27, 0x0e};
static int is(const uint8_t *iid, uint8_t last) {
  const uint8_t first[4] = {last, 0xae, 0xe8, 0xc0};
  return !memcmp(iid, first, 4) && !memcmp(iid + 4, TAIL, 12);
}

static uint32_t release(object *o) {
  if (--o->references) return (uint32_t)o->references;
  objects--;
  free(o);
  return 0;
}
static hr query(object *o, const uint8_t *iid, void **out) {
  *out = NULL;
  if (o->table == tables[CONFIG] && is(iid, 0x9f)) *out = made(LOCK, 0);
  if (o->table == tables[COMPONENT] && is(iid, 0x9e)) *out = made(BINDINGS, 0);
  return *out ? S_OK : FAILED_WITH(0x80004002u);
}
static hr initialize(object *o, void *reserved) {
  (void)o;
  if (reserved) return FAILED_WITH(0x80070057u);
  if (initialised++) return FAILED_WITH(0x8004A020u);
  wanted[0] = enabled[0]; wanted[1] = enabled[1];
  return S_OK;
}
static hr uninitialize(object *o) { (void)o; initialised--; return S_OK; }
static hr apply(object *o) {
  (void)o;
  if (!locked) return FAILED_WITH(0x8004A024u);
  if (apply_gives < 0) return apply_gives;
  enabled[0] = wanted[0]; enabled[1] = wanted[1];
  applied++;
  return apply_gives;
}
static hr cancel(object *o) { (void)o; cancelled++; return S_OK; }
static hr find_component(object *o, const uint16_t *id, object **out) {
  (void)o;
  keep(asked_for, id);
  *out = not_installed ? NULL : made(COMPONENT, -1);
  return not_installed ? S_FALSE : S_OK;
}
static hr acquire(object *o, uint32_t wait, const uint16_t *who, uint16_t **holder) {
  (void)o;
  keep(locked_by, who);
  if (wait != 5000) return FAILED_WITH(0x80070057u);
  if (initialised) return FAILED_WITH(0x8004A020u); /* the lock comes first */
  if (held) { *holder = text("Some Setup"); return S_FALSE; }
  locked++;
  return S_OK;
}
static hr release_lock(object *o) { (void)o; locked--; released++; return S_OK; }
static hr instance_guid(object *o, uint8_t *guid) {
  if (adapters_unknown) return FAILED_WITH(0x80004005u);
  for (int i = 0; i < 16; i++) guid[i] = (uint8_t)(0x10 * (o->index + 1) + i);
  return S_OK;
}
static hr enum_paths(object *o, uint32_t flags, object **out) {
  (void)o;
  *out = made(PATHS, flags == (upwards ? 1u : 2u) ? 0 : 2);
  return S_OK;
}
static hr next_path(object *o, uint32_t count, object **out, uint32_t *got) {
  if (count != 1 || !initialised) return FAILED_WITH(0x80070057u);
  *got = o->index < 2;
  *out = *got ? made(PATH, o->index++) : NULL;
  return *got ? S_OK : S_FALSE;
}
static hr is_enabled(object *o) { return wanted[o->index] ? S_OK : S_FALSE; }
static hr enable(object *o, int32_t on) {
  if (!locked) return FAILED_WITH(0x8004A024u);
  if (enable_gives < 0) return enable_gives;
  wanted[o->index] = on;
  return enable_gives;
}
static hr path_token(object *o, uint16_t **out) {
  *out = text(o->index ? "ms_ndiscap->second" : "ms_ndiscap->first");
  return S_OK;
}
static hr enum_links(object *o, object **out) { *out = made(LINKS, 4 * o->index); return S_OK; }
static hr next_link(object *o, uint32_t count, object **out, uint32_t *got) {
  *got = o->index % 4 < 2 && count == 1;
  *out = *got ? made(LINK, o->index++) : NULL;
  return *got ? S_OK : S_FALSE;
}
static hr lower(object *o, object **out) {
  *out = made(COMPONENT, o->index % 4 ? o->index / 4 : 100);
  return S_OK;
}

static void fill(void) {
  for (int kind = 0; kind < 8; kind++) { tables[kind][0] = (void *)query; tables[kind][2] = (void *)release; }
  tables[CONFIG][3] = (void *)initialize; tables[CONFIG][4] = (void *)uninitialize;
  tables[CONFIG][5] = (void *)apply; tables[CONFIG][6] = (void *)cancel; tables[CONFIG][8] = (void *)find_component;
  tables[LOCK][3] = (void *)acquire; tables[LOCK][4] = (void *)release_lock;
  tables[COMPONENT][8] = (void *)instance_guid;
  tables[BINDINGS][8] = (void *)enum_paths;
  tables[PATHS][3] = (void *)next_path;
  tables[PATH][5] = (void *)is_enabled; tables[PATH][6] = (void *)enable; tables[PATH][7] = (void *)path_token;
  tables[PATH][10] = (void *)enum_links;
  tables[LINKS][3] = (void *)next_link;
  tables[LINK][5] = (void *)lower;
}

EXPORT hr CoInitializeEx(void *reserved, uint32_t kind) {
  if (reserved || kind != 2) return FAILED_WITH(0x80070057u);
  apartments++;
  return S_OK;
}
EXPORT void CoUninitialize(void) { apartments--; }
EXPORT void CoTaskMemFree(void *memory) { objects -= memory != NULL; free(memory); }
EXPORT hr CoCreateInstance(const uint8_t *kind, void *outer, uint32_t where, const uint8_t *iid, void **out) {
  static const uint8_t CLASS[16] = {0x61, 0x52, 0x03, 0x5b, 0xf9, 0x40, 0xd1, 0x11,
                                    0xaa, 0xec, 0x00, 0x80, 0x5f, 0xc1, 0x27, 0x0e};
  *out = NULL;
  if (not_registered || memcmp(kind, CLASS, 16)) return FAILED_WITH(0x80040154u);
  if (outer || where != 1 || !apartments || !is(iid, 0x93)) return FAILED_WITH(0x80004002u);
  fill();
  *out = made(CONFIG, 0);
  return S_OK;
}
