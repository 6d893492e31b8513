"""Composes the folder for Windows that needs no Python, and zips it.

``compose.py --embed ZIP --sha256 HASH --launcher etwcap.exe --wheel WHEEL… --out FOLDER``: python.org's embeddable
package (checked against its hash), the launcher beside its DLL, and the wheels of etwcap and what it needs in
``Lib\\site-packages``. The interpreter's own python.exe is left out: etwcap.exe is all that the folder runs.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import io
import py_compile
import re
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

_TIME = (2024, 1, 1, 0, 0, 0)
_PROGRAMS = {"python.exe", "pythonw.exe"}
_SITE = "Lib/site-packages"
_UNUSED = {".pyi", ".c", ".h", ".lib", ".pxd", ".pyx"}
_UNUSED_FOLDERS = {"tests", "include", "f2py", "distutils"}
_README = """etwcap {version} for Windows, with a Python of its own. Nothing needs to be installed.

Unzip the folder anywhere and run it from a command prompt:

    etwcap.exe info trace.etl
    etwcap.exe convert trace.etl

Licences: LICENSE-etwcap.txt, LICENSE.txt (Python), and those in Lib\\site-packages\\*.dist-info.
"""


def embedded(package: Path, wanted: str) -> dict[str, bytes]:
    """The files of the embeddable package; raises SystemExit where its SHA-256 is not ``wanted``."""
    data = package.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != wanted.strip().lower():
        raise SystemExit(f"compose: {package.name} has SHA-256 {found}, wanted {wanted}")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [each for each in archive.namelist() if not each.endswith("/") and each not in _PROGRAMS]
        return {each: archive.read(each) for each in names}


def python_name(files: dict[str, bytes]) -> str:
    """``python3NN`` of the interpreter among the files; raises SystemExit where there is not exactly one."""
    names = [each.removesuffix(".dll") for each in files if re.fullmatch(r"python3\d+\.dll", each)]
    if len(names) != 1:
        raise SystemExit(f"compose: the embeddable package has {len(names)} files python3NN.dll, not one")
    return names[0]


def installed(wheel: Path) -> dict[str, bytes]:
    """What a wheel puts into site-packages, without its tests and what only a compiler needs."""
    with zipfile.ZipFile(wheel) as archive:
        names = [each for each in archive.namelist() if not each.endswith("/")]
        kept = [each for each in names if _kept(PurePosixPath(each))]
        return {f"{_SITE}/{each}": archive.read(each) for each in kept}


def _kept(path: PurePosixPath) -> bool:
    if any(part.endswith(".data") for part in path.parts[:1]):
        return False
    return path.suffix not in _UNUSED and not _UNUSED_FOLDERS & set(path.parts[:-1])


def compiled(files: dict[str, bytes], name: str) -> dict[str, bytes]:
    """The bytecode of the modules, so that a folder nobody can write to starts quickly; nothing for another Python."""
    if name != f"python{sys.version_info.major}{sys.version_info.minor}":
        print(f"compose: no bytecode: this is Python {sys.version.split()[0]}, the folder has {name}", file=sys.stderr)
        return {}
    made = {}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "module.py"), Path(folder, "module.pyc")
        for each, data in files.items():
            if each.endswith(".py"):
                source.write_bytes(data)
                mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
                py_compile.compile(str(source), str(target), each, doraise=True, invalidation_mode=mode)
                path = PurePosixPath(importlib.util.cache_from_source(each, optimization=""))
                made[str(path)] = target.read_bytes()
    return made


def main() -> None:
    """Compose and zip; prints the zip's name and hash."""
    parser = argparse.ArgumentParser(prog="compose")
    parser.add_argument("--embed", type=Path, required=True, help="python.org's embeddable package for Windows x64")
    parser.add_argument("--sha256", required=True, help="its SHA-256, as you have checked it")
    parser.add_argument("--launcher", type=Path, required=True, help="etwcap.exe, built for that Python")
    parser.add_argument("--wheel", type=Path, nargs="+", required=True, help="etwcap, numpy, click, colorama")
    parser.add_argument("--out", type=Path, required=True, help="folder for the zip")
    wanted = parser.parse_args()
    files = embedded(wanted.embed, wanted.sha256)
    name = python_name(files)
    packages: dict[str, bytes] = {}
    for each in wanted.wheel:
        packages |= installed(each)
    (info,) = (PurePosixPath(each) for each in packages if re.search(r"/etwcap-[^/]+\.dist-info/METADATA$", each))
    version = info.parent.name.removeprefix("etwcap-").removesuffix(".dist-info")
    (licence,) = (data for each, data in packages.items() if each.startswith(str(info.parent)) and "LICENSE" in each)
    files |= packages | compiled(packages, name)
    files[f"{name}._pth"] = f"{name}.zip\r\n.\r\nLib\\site-packages\r\n".encode()
    files["etwcap.exe"] = wanted.launcher.read_bytes()
    files["README.txt"] = _README.format(version=version).replace("\n", "\r\n").encode()
    files["LICENSE-etwcap.txt"] = licence
    folder = f"etwcap-{version}-windows-x64"
    wanted.out.mkdir(parents=True, exist_ok=True)
    path = wanted.out / f"{folder}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for each in sorted(files):
            entry = zipfile.ZipInfo(f"{folder}/{each}", _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, files[each])
    print(f"{path} {path.stat().st_size:,} bytes, SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
