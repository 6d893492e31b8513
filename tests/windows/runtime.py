"""A Windows CPython 3.11 from what Linux can get: the interpreter inside panda3d's wheel, and a standard library.

panda3d ships python.org's build of CPython for Windows x64 (``deploy_libs``) for the programs that it packs; the
modules in Python come from a CPython 3.11 of this machine. Out come the folder of an interpreter for the tests, and a
zip laid out as python.org's embeddable package is. For tests only, not for publishing.

usage: runtime.py PANDA3D_WHEEL STANDARD_LIBRARY INTERPRETER_FOLDER EMBED_ZIP
"""

from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

_BESIDE = re.compile(r"python311\.dll|VCRUNTIME140(_1)?\.dll|libffi-8\.dll")
_DLLS = re.compile(
    r"(pyexpat|select|unicodedata|winsound|_(?!tkinter|msi)\w+)\.pyd|(libcrypto-3|libssl-3|sqlite3)\.dll"
)
_LEFT_OUT = {"test", "site-packages", "lib-dynload", "__pycache__", "idlelib", "tkinter", "turtledemo", "ensurepip"}


def standard_library(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each module that the interpreter gets."""
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder)
        if not _LEFT_OUT & set(name.parts) and not name.parts[0].startswith("config-"):
            yield name.as_posix(), path.read_bytes()


def main(wheel: str, library: str, interpreter: str, embed: str) -> None:
    """Write the folder and the zip."""
    root = Path(interpreter)
    modules = dict(standard_library(Path(library)))
    binaries = {}
    with zipfile.ZipFile(wheel) as archive:
        for each in archive.namelist():
            if each.startswith("deploy_libs/"):
                name = each.removeprefix("deploy_libs/")
                if _BESIDE.fullmatch(name) or _DLLS.fullmatch(name):
                    binaries[name] = archive.read(each)
    if "python311.dll" not in binaries or "_ctypes.pyd" not in binaries:
        raise SystemExit(f"runtime: {wheel} has no CPython 3.11 for Windows in deploy_libs")
    for name, data in binaries.items():
        write(root / (name if _BESIDE.fullmatch(name) else f"DLLs/{name}"), data)
    for name, data in modules.items():
        write(root / "Lib" / name, data)
    (root / "Lib" / "site-packages").mkdir(exist_ok=True)
    packed = root.parent / "python311.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in modules.items():
            archive.writestr(name, data)
    with zipfile.ZipFile(embed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in binaries.items():
            archive.writestr(name, data)
        archive.write(packed, "python311.zip")
        archive.writestr("python311._pth", "python311.zip\r\n.\r\n")
        archive.writestr("python.exe", b"MZ")
        archive.writestr("LICENSE.txt", modules_licence(Path(library)))
    packed.unlink()


def modules_licence(library: Path) -> str:
    """Python's licence where the machine's Python has it, or where to read it."""
    path = library / "LICENSE.txt"
    return path.read_text(encoding="utf-8") if path.is_file() else "https://docs.python.org/3.11/license.html\n"


def write(path: Path, data: bytes) -> None:
    """Write one file, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


if __name__ == "__main__":
    main(*sys.argv[1:])
