"""The bindings of event tracing, against a stand-in library that has the functions of advapi32.dll.

The stand-in checks the places at which Windows reads, and writes where Windows writes.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
from uuid import UUID

import pytest

from conftest import missing
from etwcap.errors import RightsError, WindowsCallError
from etwcap.windows import etw
from etwcap.windows.dll import Library, callback_type
from etwcap.windows.etw import Etw, real_time_logfile
from etwcap.windows.layouts_etw import EVENT_RECORD
from etwcap.windows.text import wide

PROVIDER = UUID("2ed6006e-4729-4609-b423-3ee7bcd678ef")

SOURCE = r"""
#include <errno.h>
#include <stdint.h>
#include <string.h>
typedef uint8_t u8; typedef uint16_t u16; typedef uint32_t u32; typedef uint64_t u64;
static u8 *at(void *p, u32 offset) { return (u8 *)p + offset; }
static u32 get32(void *p, u32 offset) { u32 v; memcpy(&v, at(p, offset), 4); return v; }
static void put32(void *p, u32 offset, u32 v) { memcpy(at(p, offset), &v, 4); }
static void put64(void *p, u32 offset, u64 v) { memcpy(at(p, offset), &v, 8); }
static u16 names[2][1024];
static u32 wide_length(const u16 *s) { u32 n = 0; while (s[n]) n++; return n; }

u32 StartTraceW(u64 *handle, const u16 *name, void *properties) {
  u32 size = get32(properties, 0), place = get32(properties, 116);
  if (size < 120 + 4096 || place + 2048 > size) return 24;
  if (get32(properties, 44) != 0x20000 || get32(properties, 40) != 1 || get32(properties, 112) != 0) return 87;
  if (!(get32(properties, 64) & 0x100)) return 87;
  if (names[0][0] && !memcmp(names[0], name, 2 * wide_length(name) + 2)) return 183;
  memcpy(names[0], name, 2 * wide_length(name) + 2);
  memcpy(at(properties, place), names[0], 2 * wide_length(name) + 2);
  put32(properties, 48, 512); put32(properties, 80, 8);
  *handle = 0x1122334455667788;
  return 0;
}
u32 ControlTraceW(u64 handle, const u16 *name, void *properties, u32 code) {
  if (name ? memcmp(names[0], name, 2 * wide_length(name) + 2) != 0 : handle != 0x1122334455667788) return 4201;
  if (!names[0][0]) return 4201;
  memcpy(at(properties, get32(properties, 116)), names[0], 2 * wide_length(names[0]) + 2);
  put64(properties, 8, 0x1122334455667788);
  put32(properties, 88, 7); put32(properties, 100, 3);
  if (code == 1) names[0][0] = 0;
  return code == 2 ? 87 : 0;
}
u32 QueryAllTracesW(void **all, u32 room, u32 *count) {
  *count = 1;
  if (room < 1) return 234;
  memcpy(at(all[0], get32(all[0], 116)), names[0], 2 * wide_length(names[0]) + 2);
  return 0;
}
u8 enabled[64]; u16 ids[8]; u32 id_count;
u32 EnableTraceEx2(u64 handle, const u8 *provider, u32 code, u8 level, u64 any, u64 all, u32 timeout,
                   void *parameters) {
  if (handle != 0x1122334455667788) return 6;
  memcpy(enabled, provider, 16); enabled[16] = (u8)code; enabled[17] = level;
  memcpy(enabled + 24, &any, 8); memcpy(enabled + 32, &all, 8); memcpy(enabled + 40, &timeout, 4);
  id_count = 0;
  if (parameters && get32(parameters, 0) == 2 && get32(parameters, 40) == 1) {
    void *filter; u64 data; memcpy(&filter, at(parameters, 32), 8); memcpy(&data, filter, 8);
    if (get32(filter, 12) != 0x80000200) return 87;
    const u8 *bytes = (const u8 *)(uintptr_t)data;
    if (bytes[0] != 1) return 87;
    id_count = bytes[2]; memcpy(ids, bytes + 4, 2 * id_count);
    if (get32(filter, 8) != 4 + 2 * id_count) return 24;
  }
  return 0;
}
static void (*callback)(void *); static void *context;
u64 OpenTraceW(void *logfile) {
  u64 name; memcpy(&name, at(logfile, 8), 8);
  if (!name || get32(logfile, 28) != (0x100 | 0x1000 | 0x10000000)) { errno = 5; return UINT64_MAX; }
  memcpy(&callback, at(logfile, 424), 8); memcpy(&context, at(logfile, 440), 8);
  put64(logfile, 120 + 256, 10000000);
  return 0xFFFFFFFF00000001;
}
u32 ProcessTrace(u64 *handles, u32 count, void *start, void *end) {
  if (count != 1 || handles[0] != 0xFFFFFFFF00000001) return 6;
  for (u32 i = 0; i < 3; i++) {
    u8 record[112] = {0}, payload[4] = {1, 2, 3, (u8)i};
    void *data = payload;
    put64(record, 16, 1000 + i); record[40] = 0xE9; record[41] = 3;
    record[86] = 4; memcpy(record + 96, &data, 8); memcpy(record + 104, &context, 8);
    callback(record);
  }
  return 0;
}
u32 CloseTrace(u64 handle) { return handle == 0xFFFFFFFF00000001 ? 7007 : 6; }
"""


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Library:
    if sys.platform == "win32":
        pytest.skip("the stand-in is compiled on the build machine")
    folder = tmp_path_factory.mktemp("advapi32")
    (folder / "advapi32.c").write_text(SOURCE)
    words = ["cc", "-shared", "-fPIC", "-Wall", "-o", str(folder / "advapi32.so"), str(folder / "advapi32.c")]
    try:
        subprocess.run(words, check=True)
    except FileNotFoundError:
        missing("there is no C compiler (cc)")
    return Library("advapi32.dll", stand_in=str(folder / "advapi32.so"))


def test_a_session_lives_from_start_to_stop(stand_in: Library) -> None:
    binding = Etw(stand_in)
    handle, granted = binding.start("etwcap-1-2", guid=PROVIDER, buffer_size=16_384, buffers=(8, 32))
    assert handle == 0x1122334455667788
    assert (granted.name, granted.buffer_size, granted.buffers) == ("etwcap-1-2", 512, 8)
    with pytest.raises(WindowsCallError, match="exists already"):
        binding.start("etwcap-1-2", guid=PROVIDER, buffer_size=64, buffers=(2, 4))
    assert [each.name for each in binding.sessions()] == ["etwcap-1-2"]
    state = binding.control(handle, etw.QUERY)
    assert (state.handle, state.events_lost, state.real_time_buffers_lost) == (handle, 7, 3)
    assert binding.control("etwcap-1-2", etw.STOP).name == "etwcap-1-2"
    with pytest.raises(WindowsCallError, match="no such trace session"):
        binding.control("etwcap-1-2", etw.STOP)
    binding.control("etwcap-1-2", etw.STOP, etw.NOT_RUNNING)


def test_a_provider_is_enabled_with_its_filter(stand_in: Library) -> None:
    stand_in.function("CloseTrace", ctypes.c_uint32, ctypes.c_uint64)
    library = stand_in._load()
    binding = Etw(stand_in)
    binding.enable(0x1122334455667788, PROVIDER, level=4, any_keyword=2**63, all_keyword=5, event_ids=[1001, 1002])
    seen = bytes((ctypes.c_uint8 * 64).in_dll(library, "enabled"))
    assert seen[:18] == PROVIDER.bytes_le + bytes([1, 4])
    assert seen[24:44] == (2**63).to_bytes(8, "little") + (5).to_bytes(8, "little") + bytes(4)
    assert ctypes.c_uint32.in_dll(library, "id_count").value == 2
    assert list((ctypes.c_uint16 * 8).in_dll(library, "ids"))[:2] == [1001, 1002]
    binding.disable(0x1122334455667788, PROVIDER)
    assert bytes((ctypes.c_uint8 * 64).in_dll(library, "enabled"))[16] == 0
    assert ctypes.c_uint32.in_dll(library, "id_count").value == 0
    with pytest.raises(WindowsCallError, match="switched on"):
        binding.enable(1, PROVIDER)


def test_a_consumer_gets_the_records_and_its_context(stand_in: Library) -> None:
    binding = Etw(stand_in)
    seen = []

    def take(record: int) -> None:
        event = EVENT_RECORD.from_address(record)
        payload = ctypes.string_at(event.UserData, event.UserDataLength)
        header = event.EventHeader
        seen.append((header.TimeStamp, header.EventDescriptor.Id, payload, event.UserContext))

    kind = callback_type(None, ctypes.c_void_p)
    name, callback = wide("etwcap-1-2"), kind(take)
    address = ctypes.cast(callback, ctypes.c_void_p).value or 0
    logfile = real_time_logfile(ctypes.addressof(name), address, context=0x5150)
    handle = binding.open(logfile)
    assert handle == 0xFFFFFFFF00000001
    assert logfile.LogfileHeader.PerfFreq == 10_000_000
    assert binding.process(handle) == 0
    assert seen == [(1000 + each, 1001, bytes([1, 2, 3, each]), 0x5150) for each in range(3)]
    binding.close(handle)
    with pytest.raises(WindowsCallError, match="CloseTrace"):
        binding.close(5)


def test_a_session_that_may_not_be_read_is_a_matter_of_rights(stand_in: Library) -> None:
    with pytest.raises(RightsError, match="cannot be read"):
        Etw(stand_in).open(real_time_logfile(0, 0))


def test_a_name_cannot_have_a_zero_inside() -> None:
    with pytest.raises(ValueError, match="zero"):
        wide("etwcap\0x")
