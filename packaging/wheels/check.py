"""Whether a wheel is what its name says: tags, RECORD, contents, and the library inside."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from wheels.binaries import read_library
from wheels.compose import digest
from wheels.targets import TARGETS, Target

LARGEST = 5_000_000
"""bytes of a wheel"""
_SUFFIXES = {".py", ".typed", ".tsv"}
_DIST_INFO = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "LICENSE"}


def functions(headers: Path) -> set[str]:
    """The functions that the headers of the native core export (``EC_API``)."""
    declared = re.compile(r"^EC_API\b[^;(]*?\b(ec_\w+)\(", re.MULTILINE)
    return {name for each in sorted(headers.glob("*.h")) for name in declared.findall(each.read_text(encoding="utf-8"))}


def target_of(path: Path) -> Target:
    """The target whose tag the wheel's name carries; raises ValueError where it is none of ours."""
    parts = path.name.removesuffix(".whl").split("-")
    if len(parts) == 5 and parts[2:4] == ["py3", "none"]:
        for each in TARGETS.values():
            if each.file_tag == parts[4]:
                return each
    raise ValueError(f"{path.name}: no tag of ours")


def check(path: Path, exports: set[str]) -> list[str]:
    """What is wrong with the wheel, nothing being good; ``exports`` are the functions its library must have."""
    target = target_of(path)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        files = {each: archive.read(each) for each in names}
    name, version = path.name.split("-")[:2]
    info = f"{name}-{version}.dist-info"
    library = f"etwcap/native/{target.library}"
    faults = [f"{len(names) - len(files)} names stand twice"] if len(names) != len(files) else []
    if (size := path.stat().st_size) >= LARGEST:
        faults.append(f"it has {size:,} bytes, more than {LARGEST:,}")
    if library not in files:
        return [*faults, f"{library} is missing"]
    faults += [f"{each} does not belong here" for each in files if not _belongs(each, info, library)]
    faults += _check_record(files, f"{info}/RECORD")
    lines = files.get(f"{info}/WHEEL", b"").decode().splitlines()
    tags = {each.removeprefix("Tag: ") for each in lines if each.startswith("Tag: ")}
    if tags != {f"py3-none-{each}" for each in target.tags} or "Root-Is-Purelib: false" not in lines:
        faults.append(f"WHEEL does not fit its name: {lines}")
    if f"Version: {version}" not in files.get(f"{info}/METADATA", b"").decode().splitlines():
        faults.append(f"METADATA is not of version {version}")
    return faults + _check_library(files[library], target, exports)


def _belongs(name: str, info: str, library: str) -> bool:
    path = PurePosixPath(name)
    if path.parts[0] == info:
        return path.name in _DIST_INFO
    return path.parts[0] == "etwcap" and (path.suffix in _SUFFIXES or name == library)


def _check_record(files: dict[str, bytes], record: str) -> list[str]:
    rows = {row[0]: row[1:] for row in csv.reader(io.StringIO(files.get(record, b"").decode())) if row}
    faults = [f"RECORD and the archive do not agree on {each}" for each in sorted(set(rows) ^ set(files))]
    both = sorted(set(rows) & set(files) - {record})
    wrong = [each for each in both if rows[each] != [digest(files[each]), str(len(files[each]))]]
    return faults + [f"RECORD states another hash or size of {each}" for each in wrong]


def _check_library(data: bytes, target: Target, exports: set[str]) -> list[str]:
    try:
        found = read_library(data)
    except ValueError as error:
        return [f"{target.library}: {error}"]
    faults = []
    if (found.format, found.machine) != (target.format, target.machine):
        faults.append(f"{target.library} is {found.format} for {found.machine}")
    if missing := sorted(exports - found.exports):
        faults.append(f"{target.library} does not export {', '.join(missing)}")
    for each in found.needs:
        name = each.lower() if target.format == "PE" else each
        if not any(fnmatchcase(name, allowed) for allowed in target.needs):
            faults.append(f"{target.library} loads {each}")
    if target.limit and found.system > target.limit:
        newest, stated = (".".join(map(str, each)) for each in (found.system, target.limit))
        faults.append(f"{target.library} asks for {newest} of the system, its tag says {stated}")
    return faults
