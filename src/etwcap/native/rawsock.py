"""The raw-socket receiver (Windows), and the headers of its records (everywhere).

There is no twin: a receiver is a thread that waits for no interpreter.
"""

from __future__ import annotations

import ctypes
from typing import NamedTuple

from etwcap.errors import NativeCoreError, NotHereError
from etwcap.native.loader import function, library
from etwcap.native.ring import Ring

HEADER = 64
"""bytes of a record before its payload"""
MOST_RECEIVES = 1024
LARGEST_ROOM = 65_535
STARTING, RECEIVING, FAILED, LEAVING, GONE = range(5)
"""states of a socket"""


class _Received(ctypes.Structure):
    """struct ec_raw_received of rawsock_record.h."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("name_size", ctypes.c_size_t),
        ("control", ctypes.c_char_p),
        ("control_size", ctypes.c_size_t),
        ("number", ctypes.c_uint64),
        ("socket", ctypes.c_uint32),
        ("family", ctypes.c_uint32),
        ("cut", ctypes.c_uint32),
    ]


class _Counts(ctypes.Structure):
    """struct ec_rawsock_counts of rawsock.h."""

    _fields_ = [
        *(
            (name, ctypes.c_uint64)
            for name in ("packets", "bytes", "refused", "cut", "control_cut", "errors", "posted")
        ),
        *((name, ctypes.c_uint32) for name in ("outstanding", "state", "last_error", "reserved")),
    ]


class SocketCounts(NamedTuple):
    """What one socket has given so far."""

    packets: int
    bytes: int
    """payload bytes"""
    refused: int
    """packets that found no room in the ring"""
    cut: int
    """packets longer than a buffer"""
    control_cut: int
    """packets whose ancillary data did not fit"""
    errors: int
    """receives that failed; those that were cancelled at the end are not counted"""
    posted: int
    outstanding: int
    """receives that Windows holds now"""
    state: int
    last_error: int
    """Winsock's number or an NTSTATUS; 0: there was none"""


def raw_header(
    name: bytes, control: bytes, *, family: int, number: int = 0, socket: int = 0, cut: bool = False
) -> bytes:
    """The 64 bytes before a payload, from the SOCKADDR and the ancillary data (WSACMSGHDRs) of a receive call.

    This is what the receiver does with each packet. Raises NativeCoreError where the twin runs.
    """
    core = library()
    if core is None:
        raise NativeCoreError("the headers of raw-socket records are written by the native core alone")
    received = _Received(name, len(name), control, len(control), number, socket, family, cut)
    out = ctypes.create_string_buffer(HEADER)
    function(core, "ec_raw_header", ctypes.c_uint32, ctypes.c_void_p, ctypes.c_void_p)(
        ctypes.addressof(out), ctypes.addressof(received)
    )
    return out.raw


class RawReceiver:
    """The thread that receives on raw sockets and fills ``ring``, as its only producer.

    ``idle``: ms after which it promises the reader something though nothing came (at most 250). Sockets belong to the
    caller, who closes them: after ``counts`` of one says GONE, or after ``stop``. Raises NotHereError off Windows,
    OSError where Windows refuses.
    """

    def __init__(self, ring: Ring, *, idle: int = 100) -> None:
        core = library()
        if core is None or not hasattr(core, "ec_receiver_start"):
            raise NotHereError("raw sockets are captured on Windows only", cause="the core has no receiver here")
        address, error = ctypes.c_void_p, ctypes.c_uint32()
        word, wide = ctypes.c_uint32, ctypes.c_uint64
        self._add = function(core, "ec_receiver_add", address, address, wide, wide, word, word, word, word, address)
        self._remove = function(core, "ec_receiver_remove", None, address, address)
        self._count = function(core, "ec_rawsock_count", None, address, address)
        self._busy = function(core, "ec_receiver_busy", wide, address)
        self._stop = function(core, "ec_receiver_stop", ctypes.c_int32, address, word)
        self._free = function(core, "ec_receiver_free", ctypes.c_int32, address)
        start = function(core, "ec_receiver_start", address, address, word, address)
        self._address = start(ring.address, idle, ctypes.addressof(error))
        if self._address is None:
            raise OSError(error.value, f"the receiver's thread cannot be started (error {error.value})")
        self.ended = False
        """the thread has ended"""

    def add(
        self,
        socket: int,
        receive_message: int,
        *,
        number: int,
        family: int,
        receives: int = 32,
        room: int = LARGEST_ROOM,
    ) -> int:
        """Hand over a bound, overlapped socket; gives what the other calls know it by.

        ``receive_message`` is the address of its WSARecvMsg, ``number`` what its records carry, ``family`` 4 or 6;
        ``receives`` calls of ``room`` bytes are kept outstanding.
        """
        if not 1 <= receives <= MOST_RECEIVES or not 1 <= room <= LARGEST_ROOM:
            raise ValueError(f"{receives} receives of {room} bytes")
        error = ctypes.c_uint32()
        made = self._add(
            self._address, socket, receive_message, number, family, receives, room, ctypes.addressof(error)
        )
        if made is None:
            raise OSError(error.value, f"the socket cannot be received from (error {error.value})")
        return int(made)

    def remove(self, handle: int) -> None:
        """Ask for the end of a socket's receives; its state becomes GONE."""
        self._remove(self._address, handle)

    def counts(self, handle: int) -> SocketCounts:
        """What a socket has given so far."""
        counts = _Counts()
        self._count(handle, ctypes.addressof(counts))
        return SocketCounts(*(int(getattr(counts, name)) for name in SocketCounts._fields))

    def busy(self) -> int:
        """Ticks that the thread spent at most on one batch: so late the stamps of the next one may be."""
        return int(self._busy(self._address))

    def stop(self, milliseconds: int = 2000) -> bool:
        """Cancel all receives and wait for the thread; False where the time passes before it ends.

        Then close the sockets and call it again.
        """
        if not self.ended:
            self.ended = self._stop(self._address, milliseconds) == 0
        return self.ended

    def close(self) -> bool:
        """Free what the thread had; False, and it stays, where the thread still runs. ``counts`` ends here."""
        if self._address is None:
            return True
        if self._free(self._address):
            return False
        self._address = None
        return True
