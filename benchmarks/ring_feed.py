"""The stand-in producer of ring_harness.c: built on demand, driven from Python."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

from etwcap.native.ring import Ring

SOURCE = Path(__file__).with_name("ring_harness.c")
NATIVE = Path(__file__).parents[1] / "src" / "etwcap" / "native"


class _Feed(ctypes.Structure):
    """struct feed of ring_harness.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("ring", "put", "publish", "close", "record")),
        *((name, ctypes.c_uint64) for name in ("length", "number_at", "count", "rate")),
        *((name, ctypes.c_uint32) for name in ("batch", "lengths")),
        *((name, ctypes.c_uint64) for name in ("produced", "produced_bytes", "late")),
        ("thread", ctypes.c_size_t),
    ]


def compiler() -> str | None:
    """The C compiler that builds the harness."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    cc = compiler()
    if cc is None:
        raise RuntimeError("a C compiler builds the stand-in producer; there is none")
    folder = tempfile.mkdtemp(prefix="etwcap-ring-")
    try:
        path = Path(folder, "ring_harness.so")
        command = [cc, "-std=c11", "-O2", "-fPIC", "-shared", f"-I{NATIVE}", str(SOURCE), "-o", str(path), "-lpthread"]
        subprocess.run(command, check=True)
        library = ctypes.CDLL(str(path))
    finally:
        shutil.rmtree(folder)
    library.feed_size.restype = ctypes.c_size_t
    if library.feed_size() != ctypes.sizeof(_Feed):
        raise RuntimeError("struct feed has another size than _Feed")
    return library


class Feed:
    """A thread that puts ``count`` copies of ``record`` into the ring, each with its number (u64) at ``number_at``.

    ``rate`` records a second, 0 for as many as it can; published every ``batch``. With ``lengths``, records are cut to
    lengths from that to their own, in turn. Times are ns since 1970. It closes the ring at its end.
    """

    def __init__(
        self,
        ring: Ring,
        record: bytes,
        *,
        count: int,
        number_at: int = 0,
        rate: int = 0,
        batch: int = 32,
        lengths: int = 0,
    ) -> None:
        self._library = _library()
        self._record = record
        entry = ring.producer()
        self._feed = _Feed(
            ring=ring.address,
            put=entry["put"],
            publish=entry["publish"],
            close=entry["close"],
            record=ctypes.cast(ctypes.c_char_p(record), ctypes.c_void_p).value,
            length=len(record),
            number_at=number_at,
            count=count,
            rate=rate,
            batch=batch,
            lengths=lengths,
        )
        if self._library.feed_start(ctypes.byref(self._feed)):
            raise RuntimeError("the stand-in producer does not start")

    def join(self) -> None:
        """Wait for its end."""
        self._library.feed_join(ctypes.byref(self._feed))

    @property
    def produced(self) -> int:
        """Records that it gave to the ring, taken or not."""
        return int(self._feed.produced)

    @property
    def produced_bytes(self) -> int:
        """Their bytes."""
        return int(self._feed.produced_bytes)

    @property
    def late(self) -> int:
        """ns that it was behind its rate at most."""
        return int(self._feed.late)
