"""The tools that make wheels for every platform: what they read of a library, what they compose, what they refuse."""

from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import need_native_core, tool_path
from etwcap.native import loader
from wheels.binaries import Library, read_library
from wheels.check import check, functions
from wheels.compose import compose, replace_library
from wheels.targets import TARGETS, Target, chosen

ROOT = Path(__file__).resolve().parents[1]
NATIVE = ROOT / "src" / "etwcap" / "native"
EXPORTS = {"ec_abi_version", "ec_scan"}


def pe(
    machine: int = 0x8664, needs: str = "KERNEL32.dll", names: tuple[str, ...] = ("ec_abi_version", "ec_scan")
) -> bytes:
    """A DLL of one section that holds its export and import tables, after Microsoft's "PE Format"."""
    base, start = 0x1000, 0x200
    strings = b"".join(name.encode() + b"\0" for name in (*names, needs))
    places = [base + 0x100 + strings.index(name.encode() + b"\0") for name in (*names, needs)]
    section = struct.pack("<IIHHIIIIIII", 0, 0, 0, 0, 0, 1, len(names), len(names), 0, base + 0x80, 0).ljust(
        0x40, b"\0"
    )
    section += struct.pack("<IIIII", 0, 0, 0, places[-1], 0).ljust(0x40, b"\0")
    section += struct.pack(f"<{len(names)}I", *places[:-1]).ljust(0x80, b"\0") + strings
    head = b"MZ".ljust(60, b"\0") + struct.pack("<I", 64) + b"PE\0\0"
    head += struct.pack("<HHIIIHH", machine, 1, 0, 0, 0, 240, 0x2022)
    head += (struct.pack("<H", 0x20B).ljust(112, b"\0") + struct.pack("<IIII", base, 40, base + 0x40, 40)).ljust(
        240, b"\0"
    )
    head += struct.pack("<8sIIII", b".rdata", len(section), base, len(section), start).ljust(40, b"\0")
    return head.ljust(start, b"\0") + section


def macho(machine: int = 0x0100000C, minimum: int = 11, signed: bool = True) -> bytes:
    """A dynamic library with the load commands that are read, after Apple's mach-o/loader.h."""
    strings = b"\0_ec_abi_version\0_ec_scan\0_hidden\0"
    symbols = b"".join(
        struct.pack("<IBBHQ", strings.index(name + b"\0"), sort, 1, 0, 0)
        for name, sort in ((b"_ec_abi_version", 0x0F), (b"_ec_scan", 0x0F), (b"_hidden", 0x1F))
    )
    system = b"/usr/lib/libSystem.B.dylib".ljust(32, b"\0")
    commands = [
        struct.pack("<IIIIII", 0x0C, 24 + len(system), 24, 0, 0, 0) + system,
        struct.pack("<IIIIII", 0x32, 24, 1, minimum << 16, 0, 0),
    ]
    if signed:
        commands.append(struct.pack("<IIII", 0x1D, 16, 0, 0))
    place = 32 + sum(map(len, commands)) + 24
    commands.append(struct.pack("<IIIIII", 0x02, 24, place, 3, place + len(symbols), len(strings)))
    head = struct.pack("<IIIIIIII", 0xFEEDFACF, machine, 0, 6, len(commands), sum(map(len, commands)), 0, 0)
    return head + b"".join(commands) + symbols + strings


def pure_wheel(folder: Path, others: dict[str, str] | None = None) -> Path:
    path = folder / "etwcap-1.2.3-py3-none-any.whl"
    files = {
        "etwcap/__init__.py": "",
        "etwcap/py.typed": "",
        "etwcap-1.2.3.dist-info/METADATA": "Metadata-Version: 2.4\nName: etwcap\nVersion: 1.2.3\n",
        "etwcap-1.2.3.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n\n",
        "etwcap-1.2.3.dist-info/RECORD": "",
        **(others or {}),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def faults_of(
    folder: Path, library: bytes, target: Target = TARGETS["win_amd64"], others: dict[str, str] | None = None
) -> list[str]:
    return check(compose(pure_wheel(folder, others), library, target, folder), EXPORTS)


def test_a_dll_tells_its_machine_exports_and_imports() -> None:
    assert read_library(pe()) == Library("PE", "x86_64", frozenset(EXPORTS), ("KERNEL32.dll",), ())
    assert read_library(pe(0xAA64)).machine == "arm64"


def test_a_macos_library_tells_its_machine_exports_imports_and_oldest_system() -> None:
    found = Library("Mach-O", "arm64", frozenset(EXPORTS), ("/usr/lib/libSystem.B.dylib",), (11, 0))
    assert read_library(macho()) == found
    assert read_library(macho(0x01000007, signed=False)).machine == "x86_64"


def test_an_unsigned_library_is_nothing_for_macos_on_arm64() -> None:
    with pytest.raises(ValueError, match="without a signature"):
        read_library(macho(signed=False))


@pytest.mark.skipif(sys.platform != "linux", reason="ELF is the format of Linux")
def test_the_native_core_of_this_machine_exports_what_its_headers_say() -> None:
    need_native_core()
    found = read_library(loader.LIBRARY_PATH.read_bytes())
    assert found.format == "ELF"
    assert "ec_abi_version" in found.exports & functions(NATIVE)
    assert "libc.so.6" in found.needs or any(name.startswith("libc.") for name in found.needs)


@pytest.mark.skipif(sys.platform != "linux", reason="ELF is the format of Linux")
def test_the_newest_glibc_that_a_library_asks_for_is_found(tmp_path: Path) -> None:
    source = tmp_path / "one.c"
    source.write_text("#include <stdlib.h>\n#include <math.h>\ndouble ec_one(double x) { return exp(x) + rand(); }\n")
    library = tmp_path / "one.so"
    subprocess.run([tool_path("gcc"), "-shared", "-fPIC", "-o", library, source, "-lm"], check=True)
    listed = subprocess.run([tool_path("readelf"), "-V", library], capture_output=True, text=True, check=True).stdout
    versions = [tuple(map(int, each.split(" ")[0].split("."))) for each in listed.split("Name: GLIBC_")[1:]]
    found = read_library(library.read_bytes())
    assert (set(found.exports), set(found.needs)) == ({"ec_one"}, {"libc.so.6", "libm.so.6"})
    assert found.system == max(versions)


@given(st.sampled_from([pe(), macho()]), st.data())
def test_a_damaged_library_raises_nothing_but_value_errors(good: bytes, draw: st.DataObject) -> None:
    bad = bytearray(good[: draw.draw(st.integers(0, len(good)))])
    for place, value in draw.draw(st.lists(st.tuples(st.integers(0, len(good)), st.integers(0, 255)), max_size=8)):
        if place < len(bad):
            bad[place] = value
    with contextlib.suppress(ValueError):
        assert read_library(bytes(bad)).machine in ("x86_64", "arm64")


@pytest.mark.parametrize("name", TARGETS)
def test_the_library_has_the_name_that_the_loader_looks_for(name: str) -> None:
    target = TARGETS[name]
    suffix = {"PE": ".dll", "ELF": ".so", "Mach-O": ".dylib"}[target.format]
    assert target.library == loader.LIBRARY_PATH.with_suffix(suffix).name


def test_a_composed_wheel_is_as_it_should_be_and_always_the_same(tmp_path: Path) -> None:
    target = TARGETS["win_amd64"]
    first = compose(pure_wheel(tmp_path), pe(), target, tmp_path)
    assert first.name == "etwcap-1.2.3-py3-none-win_amd64.whl"
    assert check(first, EXPORTS) == []
    before = first.read_bytes()
    assert compose(pure_wheel(tmp_path), pe(), target, tmp_path).read_bytes() == before


def test_a_wheel_for_old_and_new_pips_states_both_of_its_tags(tmp_path: Path) -> None:
    path = compose(pure_wheel(tmp_path), b"", TARGETS["linux_x86_64"], tmp_path)
    assert path.name == "etwcap-1.2.3-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"
    text = zipfile.ZipFile(path).read("etwcap-1.2.3.dist-info/WHEEL").decode()
    assert "Tag: py3-none-manylinux2014_x86_64\n" in text
    assert "Tag: py3-none-manylinux_2_17_x86_64\n" in text
    assert "-any" not in text


def test_a_platform_wheel_is_no_base_for_another(tmp_path: Path) -> None:
    path = compose(pure_wheel(tmp_path), pe(), TARGETS["win_amd64"], tmp_path)
    with pytest.raises(ValueError, match="wanted py3-none-any"):
        compose(path, pe(), TARGETS["win_amd64"], tmp_path)


@pytest.mark.parametrize(
    ("library", "fault"),
    [
        (pe(0xAA64), "_etwcap.dll is PE for arm64"),
        (macho(), "_etwcap.dll is Mach-O for arm64"),
        (pe(needs="libgcc_s_seh-1.dll"), "_etwcap.dll loads libgcc_s_seh-1.dll"),
        (pe(names=("ec_scan", "unknown")), "_etwcap.dll does not export ec_abi_version"),
        (b"", "_etwcap.dll: no 64-bit ELF, PE or Mach-O file"),
        (bytes(6_000_000), "_etwcap.dll: no 64-bit ELF, PE or Mach-O file"),
    ],
)
def test_a_library_that_does_not_fit_the_tag_is_named(tmp_path: Path, library: bytes, fault: str) -> None:
    assert fault in faults_of(tmp_path, library)


def test_a_library_for_a_newer_system_than_the_tag_says_is_named(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, macho(minimum=13), TARGETS["macos_arm64"])
    assert fault == "_etwcap.dylib asks for 13.0 of the system, its tag says 11.0"


@pytest.mark.parametrize("name", ["etwcap/native/core.c", "etwcap/native/_etwcap.so", "tests/test_one.py"])
def test_what_does_not_belong_into_a_wheel_is_named(tmp_path: Path, name: str) -> None:
    assert faults_of(tmp_path, pe(), others={name: "text"}) == [f"{name} does not belong here"]


def test_a_changed_file_does_not_fit_its_record(tmp_path: Path) -> None:
    path = compose(pure_wheel(tmp_path), pe(), TARGETS["win_amd64"], tmp_path)
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data + b"#" if name == "etwcap/__init__.py" else data)
        archive.writestr("etwcap/new.py", "")
    assert check(path, EXPORTS) == [
        "RECORD and the archive do not agree on etwcap/new.py",
        "RECORD states another hash or size of etwcap/__init__.py",
    ]


def test_a_library_that_was_signed_later_takes_the_place_of_the_first(tmp_path: Path) -> None:
    target = TARGETS["win_amd64"]
    path = compose(pure_wheel(tmp_path), pe(), target, tmp_path)
    signed = pe() + b"signature"
    replace_library(path, signed, target)
    assert check(path, EXPORTS) == []
    with zipfile.ZipFile(path) as archive:
        assert archive.read("etwcap/native/_etwcap.dll") == signed


def test_platforms_are_chosen_by_name() -> None:
    assert [each.name for each in chosen("win_amd64, macos_arm64,win_amd64")] == ["win_amd64", "macos_arm64"]
    assert chosen("") == list(TARGETS.values())
    with pytest.raises(SystemExit, match="no platform 'win32'; there are win_amd64, "):
        chosen("win32")
