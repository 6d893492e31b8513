"""A platform's wheel from the pure wheel and a library, byte for byte the same from the same inputs."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

from wheels.targets import Target

_TIME = (2024, 1, 1, 0, 0, 0)
"""of every file in the wheel: when it was built says nothing about what is in it"""


def digest(data: bytes) -> str:
    """The hash of a file as RECORD states it (PEP 376, PEP 427)."""
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def compose(pure: Path, library: bytes, target: Target, folder: Path) -> Path:
    """Write the wheel of ``target`` into ``folder`` and give its path.

    ``pure`` is the ``py3-none-any`` wheel of the project. Raises ValueError where it is something else.
    """
    name, version, *tags = pure.name.removesuffix(".whl").split("-")
    if tags != ["py3", "none", "any"]:
        raise ValueError(f"{pure.name}: a wheel with tag {'-'.join(tags)}, wanted py3-none-any")
    path = folder / f"{name}-{version}-py3-none-{target.file_tag}.whl"
    _write(path, _files(pure), library, target)
    return path


def replace_library(wheel: Path, library: bytes, target: Target) -> None:
    """Put another library into a wheel of ``target``: the one that was signed after the wheel had been built."""
    _write(wheel, _files(wheel), library, target)


def _files(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {each: archive.read(each) for each in archive.namelist() if not each.endswith("/")}


def _write(path: Path, files: dict[str, bytes], library: bytes, target: Target) -> None:
    info = "-".join(path.name.split("-")[:2]) + ".dist-info"
    files.pop(f"{info}/RECORD")
    files[f"{info}/WHEEL"] = _wheel_text(files[f"{info}/WHEEL"].decode(), target).encode()
    files[f"etwcap/native/{target.library}"] = library
    order = sorted(files, key=lambda each: (each.startswith(info), each))
    record = "".join(f"{each},{digest(files[each])},{len(files[each])}\n" for each in order)
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for each in [*order, f"{info}/RECORD"]:
            entry = zipfile.ZipInfo(each, _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix: the permissions below mean something
            entry.external_attr = (0o100755 if each.endswith(target.library) else 0o100644) << 16
            archive.writestr(entry, files[each])


def _wheel_text(text: str, target: Target) -> str:
    kept = [each for each in text.splitlines() if each and not each.startswith(("Root-Is-Purelib:", "Tag:"))]
    return "\n".join([*kept, "Root-Is-Purelib: false", *(f"Tag: py3-none-{tag}" for tag in target.tags), ""])
