"""Records by the million without Python per record: a run of records is laid out once, repeated, and patched by
columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etwcap.etl.build import padded


class RecordRun:
    """Records one after another, as a template for many copies.

    ``copies(n)`` gives an array of shape (n, bytes of the run); ``put`` sets one field of one record in every copy;
    ``ends(n)`` goes with the flattened array into :meth:`etwcap.etl.writer.EtlWriter.add_many`.
    """

    def __init__(self, records: Sequence[bytes]) -> None:
        self.template = np.frombuffer(b"".join(padded(record) for record in records), np.uint8)
        self.record_ends = np.cumsum([len(padded(record)) for record in records], dtype=np.int64)
        self.record_starts = np.concatenate([[0], self.record_ends[:-1]]).astype(np.int64)

    def __len__(self) -> int:
        """Records in one copy."""
        return len(self.record_ends)

    def copies(self, count: int) -> NDArray[np.uint8]:
        """``count`` copies, one a row."""
        rows = np.empty((count, self.template.size), np.uint8)
        rows[:] = self.template
        return rows

    def put(self, rows: NDArray[np.uint8], record: int, offset: int, values: NDArray[Any]) -> None:
        """Set the bytes at ``offset`` of that record of the run to ``values``, one for each copy, in the array's
        byte order."""
        width = values.dtype.itemsize
        at = int(self.record_starts[record]) + offset
        if offset < 0 or at + width > self.record_ends[record]:
            raise ValueError("the field does not lie in the record")
        rows[:, at : at + width] = np.ascontiguousarray(values).view(np.uint8).reshape(len(rows), width)

    def ends(self, count: int) -> NDArray[np.int64]:
        """Where each record of ``count`` copies ends in their flattened bytes."""
        starts = np.arange(count, dtype=np.int64) * self.template.size
        ends: NDArray[np.int64] = (starts[:, None] + self.record_ends).reshape(-1)
        return ends
