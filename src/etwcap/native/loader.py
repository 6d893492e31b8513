"""Finding and loading the native core.

The library lies beside this file and nowhere else: no setting and no environment variable changes which file is loaded.
``ETWCAP_NATIVE=0`` selects the twin, ``ETWCAP_NATIVE=1`` makes a missing or unfit library an error.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from etwcap.errors import NativeCoreError

ABI_VERSION = 2
"""Must equal EC_ABI_VERSION of etwcap.h."""

_SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
LIBRARY_PATH = Path(__file__).with_name("_etwcap" + _SUFFIX)

_UNSET: Any = object()
_functions: dict[tuple[int, str], Any] = {}
_library: Any = _UNSET


def pointer(array: Any) -> int:
    """The address of a contiguous NumPy array, for an argument declared ``c_void_p``."""
    return int(array.__array_interface__["data"][0])  # three times as fast as array.ctypes


def _load() -> ctypes.CDLL | None:
    wanted = os.environ.get("ETWCAP_NATIVE", "")
    if wanted == "0":
        return None
    try:
        library = ctypes.CDLL(str(LIBRARY_PATH))
        library.ec_abi_version.restype = ctypes.c_uint32
        found = library.ec_abi_version()
    except (OSError, AttributeError) as error:
        if wanted == "1":
            raise NativeCoreError(
                "the native core cannot be loaded",
                cause=f"{LIBRARY_PATH}: {error}",
                hint="install a wheel of this platform, or a C compiler and reinstall; ETWCAP_NATIVE=0 runs the twin",
            ) from error
        return None
    if found != ABI_VERSION:
        if wanted == "1":
            raise NativeCoreError(
                "the native core does not fit this version of etwcap",
                cause=f"{LIBRARY_PATH}: interface {found}, wanted {ABI_VERSION}",
                hint="reinstall etwcap; ETWCAP_NATIVE=0 runs the twin",
            )
        return None
    return library


def library() -> ctypes.CDLL | None:
    """The loaded core, or None where the twins run."""
    global _library
    if _library is _UNSET:
        _library = _load()
    loaded: ctypes.CDLL | None = _library
    return loaded


def function(core: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
    """The exported function of that name with its C types declared (declared once per library)."""
    declared = _functions.get((id(core), name))
    if declared is None:
        declared = core[name]  # a function object of our own: attribute access would share it
        declared.restype = result
        declared.argtypes = arguments
        _functions[id(core), name] = declared
    return declared


def backend() -> str:
    """``native`` or ``twin``: what runs, for ``--version`` and the receipt."""
    return "twin" if library() is None else "native"


@contextlib.contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Run a block on ``native`` or ``twin`` (for tests and comparisons); raises NativeCoreError where it is absent."""
    global _library
    before = library()
    if name == "twin":
        _library = None
    elif before is None:
        raise NativeCoreError("the native core is not loaded", cause=str(LIBRARY_PATH), hint="build it first")
    try:
        yield
    finally:
        _library = before
