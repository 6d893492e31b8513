"""A slot of the core for what a DLL of Windows calls back with (slots.h): the one producer of a ring.

There is no twin: the callbacks run on threads of Windows that wait for no interpreter.
"""

from __future__ import annotations

import ctypes
from types import TracebackType
from typing import Any, ClassVar, TypeVar

from etwcap.errors import EtwcapError, NativeCoreError
from etwcap.native.loader import function, library
from etwcap.native.ring import Ring

NO_STAMP = -(2**63)
"""The latest stamp before there was one."""

S = TypeVar("S", bound="Slot")


class Slot:
    """A slot for the calls of one source into ``ring`` (a context manager).

    ``context`` is what Windows is told to hand back. A call that comes after ``close`` does nothing, however late it
    is. Raises NativeCoreError without the native core, EtwcapError where all slots are taken.
    """

    PREFIX: ClassVar[str]
    """of its functions in the core"""
    WHAT: ClassVar[str]
    """in words, of several"""
    MOST: ClassVar[int]
    """that one process can have at a time"""
    LAYOUT: ClassVar[type[ctypes.Structure]]
    """how the core counts"""

    def __init__(self, ring: Ring) -> None:
        core = library()
        if core is None:
            raise NativeCoreError(f"{self.WHAT} are read by the native core alone", cause="the twin runs")
        wide, address = ctypes.c_uint64, ctypes.c_void_p
        self._core = core
        self._end = function(core, f"{self.PREFIX}_end", None, wide)
        self._close = function(core, f"{self.PREFIX}_close", None, wide)
        self._count = function(core, f"{self.PREFIX}_count", ctypes.c_int32, wide, address)
        self._last: Any = self.LAYOUT(newest=NO_STAMP)
        self.context = int(function(core, f"{self.PREFIX}_open", wide, address)(ring.address))
        if not self.context:
            raise EtwcapError(f"too many {self.WHAT} are read at once", cause=f"{self.MOST} at most in one process")

    def _counted(self) -> dict[str, int]:
        """The core's counts by name; after ``close``, as they were then."""
        now = self.LAYOUT()
        if self._count(self.context, ctypes.addressof(now)):
            self._last = now
        return {name: int(getattr(self._last, name)) for name, *_ in self.LAYOUT._fields_}

    def _callback(self, name: str) -> int:
        """The address of a function that Windows calls."""
        address = ctypes.cast(self._core[f"{self.PREFIX}_{name}"], ctypes.c_void_p).value
        assert address is not None
        return address

    def end(self) -> None:
        """Let nothing more into the ring, and have its reader come to the end. Safe twice, from any thread."""
        self._end(self.context)

    def close(self) -> None:
        """End, and give the slot back; the ring may be closed then. Safe twice."""
        self.end()
        self._counted()
        self._close(self.context)

    def __enter__(self: S) -> S:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @classmethod
    def late_calls(cls) -> int:
        """Calls in the life of this process that came after the end of what they were for."""
        core = library()
        return 0 if core is None else int(function(core, f"{cls.PREFIX}_late", ctypes.c_uint64)())
