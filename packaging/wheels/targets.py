"""The platforms that wheels are built for."""

from __future__ import annotations

from typing import NamedTuple


class Target(NamedTuple):
    """One platform: its wheel tags, its compiler's name for it, and what its library must be."""

    name: str
    """for people and ``--only``"""
    tags: tuple[str, ...]
    """platform tags of the wheel, as PEP 425, PEP 600 and PEP 656 define them"""
    triple: str
    """what ``zig cc -target`` calls it"""
    library: str
    """the file name that ``etwcap.native.loader`` looks for there"""
    format: str
    """``PE``, ``ELF`` or ``Mach-O``"""
    machine: str
    """``x86_64`` or ``arm64``"""
    needs: tuple[str, ...]
    """the system libraries it may load; a ``*`` at the end stands for anything"""
    limit: tuple[int, ...] = ()
    """the newest glibc, or macOS, that it may ask for; empty where the tag states none"""

    @property
    def file_tag(self) -> str:
        """The tag in the file name: a compressed set, sorted as PEP 425 asks."""
        return ".".join(sorted(self.tags))


_GLIBC = ("libc.so.6",)
_MUSL = ("libc.so", "libc.musl-*")
_WINDOWS = ("kernel32.dll", "ntdll.dll", "msvcrt.dll", "ucrtbase.dll", "api-ms-win-crt-*")
_MACOS = ("/usr/lib/libSystem.B.dylib",)


def _manylinux(machine: str, triple: str, kind: str) -> Target:
    tags = (f"manylinux_2_17_{machine}", f"manylinux2014_{machine}")
    return Target(f"linux_{machine}", tags, f"{triple}-linux-gnu.2.17", "_etwcap.so", "ELF", kind, _GLIBC, (2, 17))


def _musllinux(machine: str, triple: str, kind: str) -> Target:
    tags = (f"musllinux_1_2_{machine}",)
    return Target(f"musllinux_{machine}", tags, f"{triple}-linux-musl", "_etwcap.so", "ELF", kind, _MUSL)


def _macos(machine: str, triple: str, kind: str) -> Target:
    tags = (f"macosx_11_0_{machine}",)
    return Target(f"macos_{machine}", tags, f"{triple}-macos.11.0", "_etwcap.dylib", "Mach-O", kind, _MACOS, (11, 0))


def _windows(tag: str, triple: str, kind: str) -> Target:
    return Target(tag, (tag,), f"{triple}-windows-gnu", "_etwcap.dll", "PE", kind, _WINDOWS)


TARGETS = {
    each.name: each
    for each in (
        _windows("win_amd64", "x86_64", "x86_64"),
        _windows("win_arm64", "aarch64", "arm64"),
        _manylinux("x86_64", "x86_64", "x86_64"),
        _manylinux("aarch64", "aarch64", "arm64"),
        _musllinux("x86_64", "x86_64", "x86_64"),
        _musllinux("aarch64", "aarch64", "arm64"),
        _macos("x86_64", "x86_64", "x86_64"),
        _macos("arm64", "aarch64", "arm64"),
    )
}


def chosen(names: str) -> list[Target]:
    """The targets of a comma list, all for an empty one; raises SystemExit for a name that is none."""
    wanted = [each.strip() for each in names.split(",") if each.strip()] or list(TARGETS)
    for name in wanted:
        if name not in TARGETS:
            raise SystemExit(f"build-wheels: no platform {name!r}; there are {', '.join(TARGETS)}")
    return [TARGETS[name] for name in dict.fromkeys(wanted)]
