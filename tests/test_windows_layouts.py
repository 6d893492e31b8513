"""The structures of ``windows/`` are those of the Windows headers."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from conftest import tool_path
from etwcap.windows import (
    layouts_crypt32,
    layouts_etw,
    layouts_iphlpapi,
    layouts_pktmon,
    layouts_shell32,
    layouts_system,
    layouts_user32,
    layouts_winsock,
)

MODULES = [
    layouts_crypt32,
    layouts_shell32,
    layouts_user32,
    layouts_system,
    layouts_winsock,
    layouts_iphlpapi,
    layouts_etw,
]


def structures(module: ModuleType) -> list[Any]:
    """The structures and unions that the module itself declares."""
    kinds = (type(ctypes.Structure), type(ctypes.Union))
    return [each for each in vars(module).values() if isinstance(each, kinds) and each.__module__ == module.__name__]


def assertions(module: ModuleType) -> str:
    lines = [f"#include <{header}>" for header in module.HEADERS] + ["#include <stddef.h>"]
    for each in structures(module):
        name = each.__name__
        lines.append(f'_Static_assert(sizeof({name}) == {ctypes.sizeof(each)}, "size of {name}");')
        for field, kind in each._fields_:
            if field.startswith("_"):
                continue  # a bit field or padding: has no name of its own in C
            place, size = getattr(each, field).offset, ctypes.sizeof(kind)
            lines.append(f'_Static_assert(offsetof({name}, {field}) == {place}, "place of {name}.{field}");')
            lines.append(f'_Static_assert(sizeof((({name} *)0)->{field}) == {size}, "size of {name}.{field}");')
    return "\n".join(lines) + "\n"


def complaints(source: Path) -> str:
    """What MinGW's compiler says of the file, for Windows 10."""
    words = [tool_path("x86_64-w64-mingw32-gcc"), "-std=c11", "-D_WIN32_WINNT=0x0A00", "-DNTDDI_VERSION=0x0A000010"]
    done = subprocess.run([*words, "-fsyntax-only", str(source)], capture_output=True, text=True, check=False)
    assert bool(done.stderr) == bool(done.returncode), done.stderr
    return done.stderr


@pytest.mark.parametrize("module", MODULES, ids=lambda each: each.__name__.rpartition(".")[2])
def test_a_c_compiler_finds_the_same_sizes_and_places(module: ModuleType, tmp_path: Path) -> None:
    source = tmp_path / "layouts.c"
    source.write_text(assertions(module))
    assert complaints(source) == ""


def test_a_wrong_place_would_be_found(tmp_path: Path) -> None:
    source = tmp_path / "layouts.c"
    right, wrong = "offsetof(WSAMSG, dwFlags) == 48", "offsetof(WSAMSG, dwFlags) == 44"
    source.write_text(assertions(layouts_winsock).replace(right, wrong))
    assert "place of WSAMSG.dwFlags" in complaints(source)


PKTMON = {
    "DATA_SOURCE_SPECIFICATION": (424, {"Name": 4, "Description": 132, "Id": 388, "IsPresent": 400, "Detail": 408}),
    "PROTOCOL_CONSTRAINT": (
        216,
        {"IsPresent": 128, "Mac2": 138, "DSCP": 148, "Ip1": 152, "Port1": 186, "EncapType": 192, "Bytes": 208},
    ),
    "REALTIME_STREAM_CONFIGURATION": (32, {"DataCallback": 16, "BufferSizeMultiplier": 24, "TruncationSize": 26}),
    "STREAM_DATA_DESCRIPTOR": (32, {"MetadataOffset": 12, "PacketLength": 20, "MissedPacketReadCount": 28}),
    "STREAM_METADATA": (40, {"ComponentId": 16, "DropReason": 22, "Processor": 30, "TimeStamp": 32}),
    "STREAM_EVENT_STARTED": (8, {"BufferSize": 0, "TruncationSize": 4}),
    "STREAM_EVENT_FATAL_ERROR": (8, {"IsFatal": 0, "Reason": 4}),
    "STREAM_EVENT_PROCESS_INFO": (16, {"IsWarning": 0, "Reason": 4, "PacketLength": 8}),
    "LEGACY_FILTER": (
        200,
        {"Name": 2, "Mac1": 130, "VlanId": 142, "TransportProtocol": 146, "Ip1": 152, "Port1": 186, "DSCP": 196},
    ),
    "LEGACY_START": (32, {"ComponentMode": 8, "ComponentCount": 12, "Components": 16}),
    "DEVICE_START": (20, {"Selection": 4, "CaptureType": 12, "Flag": 16}),
}
"""No compiler has a header of these: size and places as published programs use them."""


def test_structures_of_packet_monitor_have_the_published_places() -> None:
    found = {each.__name__: each for each in structures(layouts_pktmon)}
    assert found.keys() == PKTMON.keys()
    for name, (size, places) in PKTMON.items():
        assert ctypes.sizeof(found[name]) == size, name
        assert {field: getattr(found[name], field).offset for field in places} == places


def test_every_module_of_layouts_is_checked() -> None:
    folder = Path(layouts_etw.__file__).parent
    names = {path.stem for path in folder.glob("layouts_*.py")}
    assert names == {each.__name__.rpartition(".")[2] for each in [*MODULES, layouts_pktmon]}
