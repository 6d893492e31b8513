"""What a shared library says of itself: format, machine, exports, and what it needs of the system.

Read from the file with ``struct`` alone, so that a library of any platform can be judged on any other. Sources: the
System V ABI (ELF) with the Linux Standard Base's symbol versions, Microsoft's "PE Format", Apple's mach-o/loader.h.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple


class Library(NamedTuple):
    """One shared library."""

    format: str
    """``PE``, ``ELF`` or ``Mach-O``"""
    machine: str
    """``x86_64`` or ``arm64``"""
    exports: frozenset[str]
    needs: tuple[str, ...]
    """names of the libraries it loads, as they stand there"""
    system: tuple[int, ...]
    """the newest version of glibc (ELF) or macOS (Mach-O) that it asks for; empty where it asks for none"""


def read_library(data: bytes) -> Library:
    """Parse a 64-bit little-endian library; raises ValueError for anything else, and for one that is cut."""
    try:
        if data.startswith(b"\x7fELF"):
            return _elf(data)
        if data.startswith(b"MZ"):
            return _pe(data)
        if data.startswith(b"\xcf\xfa\xed\xfe"):
            return _macho(data)
    except (struct.error, IndexError, KeyError) as error:
        raise ValueError(f"a damaged or foreign library: {error!r}") from error
    raise ValueError("no 64-bit ELF, PE or Mach-O file")


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode("ascii", "replace")


class _Section(NamedTuple):
    kind: int
    offset: int
    size: int
    link: int


def _elf(data: bytes) -> Library:
    bits, order = data[4], data[5]
    if (bits, order) != (2, 1):
        raise ValueError("an ELF file that is not 64-bit little-endian")
    kind, machine = struct.unpack_from("<HH", data, 16)
    if kind != 3:
        raise ValueError("an ELF file that is no shared object")
    (table,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    sections = []
    for at in range(table, table + size * count, size):
        _, sort, _, _, offset, length, link = struct.unpack_from("<IIQQQQI", data, at)
        sections.append(_Section(sort, offset, length, link))
    exports, needs = set(), []
    versions: list[tuple[int, ...]] = [()]
    for each in sections:
        names = sections[each.link].offset if each.link < len(sections) else 0
        span = range(each.offset, each.offset + each.size)
        if each.kind == 11:  # SHT_DYNSYM
            for at in span[::24]:
                name, info, _, place = struct.unpack_from("<IBBH", data, at)
                if place and info >> 4 == 1:  # defined here, STB_GLOBAL
                    exports.add(_text(data, names + name))
        elif each.kind == 6:  # SHT_DYNAMIC
            for at in span[::16]:
                tag, value = struct.unpack_from("<qQ", data, at)
                if tag == 1:  # DT_NEEDED
                    needs.append(_text(data, names + value))
        elif each.kind == 0x6FFFFFFE:  # SHT_GNU_verneed
            versions += [_glibc(name) for name in _version_names(data, each.offset, names)]
    return Library("ELF", {62: "x86_64", 183: "arm64"}[machine], frozenset(exports), tuple(needs), max(versions))


def _version_names(data: bytes, at: int, names: int) -> Iterator[str]:
    while True:
        _, count, _, first, following = struct.unpack_from("<HHIII", data, at)
        place = at + first
        for _ in range(count):
            _, _, _, name, step = struct.unpack_from("<IHHII", data, place)
            yield _text(data, names + name)
            place += step
        if not following:
            return
        at += following


def _glibc(version: str) -> tuple[int, ...]:
    found = re.fullmatch(r"GLIBC_([0-9.]+)", version)
    if found is None:
        raise ValueError(f"a symbol version that is not glibc's: {version}")
    return tuple(int(part) for part in found[1].split("."))


def _pe(data: bytes) -> Library:
    (at,) = struct.unpack_from("<I", data, 60)
    if data[at : at + 4] != b"PE\0\0":
        raise ValueError("an MZ file that is no PE file")
    machine, sections, _, _, _, length, traits = struct.unpack_from("<HHIIIHH", data, at + 4)
    if not traits & 0x2000:  # IMAGE_FILE_DLL
        raise ValueError("a PE file that is no DLL")
    optional = at + 24
    (magic,) = struct.unpack_from("<H", data, optional)
    if magic != 0x20B:
        raise ValueError("a PE file that is not 64-bit")
    places = [struct.unpack_from("<IIII", data, optional + length + 40 * number + 8) for number in range(sections)]

    def offset(rva: int) -> int:
        for virtual, start, raw, where in places:
            if start <= rva < start + max(virtual, raw):
                return int(rva - start + where)
        raise ValueError(f"an address outside all sections: {rva:#x}")

    export, _, imported, _ = struct.unpack_from("<IIII", data, optional + 112)
    exports = set()
    if export:
        count, _, names = struct.unpack_from("<III", data, offset(export) + 24)
        if count:
            exports = {_text(data, offset(each)) for each in struct.unpack_from(f"<{count}I", data, offset(names))}
    needs = []
    row = offset(imported) if imported else 0
    while imported and (name := struct.unpack_from("<IIIII", data, row)[3]):
        needs.append(_text(data, offset(name)))
        row += 20
    return Library("PE", {0x8664: "x86_64", 0xAA64: "arm64"}[machine], frozenset(exports), tuple(needs), ())


def _macho(data: bytes) -> Library:
    machine, _, kind, count = struct.unpack_from("<IIII", data, 4)
    if kind != 6:  # MH_DYLIB
        raise ValueError("a Mach-O file that is no dynamic library")
    exports, needs, signed = set(), [], False
    system: tuple[int, ...] = ()
    at = 32
    for _ in range(count):
        command, size = struct.unpack_from("<II", data, at)
        if size < 8:
            raise ValueError("a load command without its header")
        if command == 0x02:  # LC_SYMTAB
            symbols, number, names, _ = struct.unpack_from("<IIII", data, at + 8)
            for place in range(symbols, symbols + 16 * number, 16):
                name, sort = struct.unpack_from("<IB", data, place)
                if sort == 0x0F:  # N_SECT | N_EXT, and neither N_PEXT nor a debugger's
                    exports.add(_text(data, names + name).removeprefix("_"))
        elif command in (0x0C, 0x80000018, 0x8000001F):  # LC_LOAD_DYLIB, weak, re-exported
            needs.append(_text(data, at + struct.unpack_from("<I", data, at + 8)[0]))
        elif command == 0x32:  # LC_BUILD_VERSION
            (minimum,) = struct.unpack_from("<I", data, at + 12)
            system = (minimum >> 16, minimum >> 8 & 0xFF)
        elif command == 0x1D:  # LC_CODE_SIGNATURE
            signed = True
        at += size
    name = {0x01000007: "x86_64", 0x0100000C: "arm64"}[machine]
    if name == "arm64" and not signed:
        raise ValueError("macOS on arm64 loads no library without a signature")
    return Library("Mach-O", name, frozenset(exports), tuple(needs), system)
