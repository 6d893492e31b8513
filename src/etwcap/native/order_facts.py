"""What the headers of packets say about their place among others: what they answer, what answers them."""

from __future__ import annotations

import ctypes
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from etwcap.native import twin_order_facts
from etwcap.native.loader import function, library, pointer

FACT: Final = np.dtype(
    [
        ("key", "<u8"),
        ("answer", "<u8"),
        ("quote", "<u8"),
        ("seq", "<u4"),
        ("end", "<u4"),
        ("ack", "<u4"),
        ("sign", "<u4"),
        ("stamp", "<u4"),
        ("echo", "<u4"),
        ("sack", "<u4", 8),
        ("role", "u1"),
        ("side", "u1"),
        ("way", "u1"),
        ("flags", "u1"),
        ("sacks", "u1"),
        ("stamped", "u1"),
        ("zero", "u1", 2),
    ]
)
"""struct ec_order_fact of order_facts.h; keys are hashes, TCP numbers as in the segment."""

NONE: Final = 0
TCP: Final = 1
TALK: Final = 2
ERROR: Final = 3
TCP_ERROR: Final = 4
"""Values of ``role``."""


def own_table(addresses: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """A table of the machine's addresses (16 bytes a row, IPv4 as ::ffff:a.b.c.d) for :func:`order_facts`."""
    addresses = np.ascontiguousarray(addresses, np.uint8)
    slots = 1 << (2 * len(addresses) + 1).bit_length() if len(addresses) else 0
    own = np.zeros(slots, np.uint64)
    core = library()
    if core is None:
        twin_order_facts.fill_own(addresses, own)
    elif slots:
        call = function(core, "ec_order_own", None, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t)
        call(pointer(addresses), len(addresses), pointer(own), slots)
    return own


def order_facts(
    buffer: NDArray[np.uint8],
    offset: NDArray[np.int64],
    captured: NDArray[np.uint32],
    original: NDArray[np.uint32],
    link: NDArray[np.uint16],
    direction: NDArray[np.uint8],
    own: NDArray[np.uint64],
) -> NDArray[Any]:
    """Rows of FACT; those of packets that the machine neither sent nor received, as far as ``direction`` (0 not known,
    1 received, 2 sent) and its own addresses tell, have the role NONE.

    Raises IndexError when a packet does not lie inside the buffer.
    """
    core = library()
    rows = len(offset)
    facts = np.empty(rows, FACT)
    if core is None:
        twin_order_facts.fill(buffer, offset, captured, original, link, direction, own, facts)
        return facts
    offset, captured = np.ascontiguousarray(offset, np.int64), np.ascontiguousarray(captured, np.uint32)
    original, link = np.ascontiguousarray(original, np.uint32), np.ascontiguousarray(link, np.uint16)
    direction = np.ascontiguousarray(direction, np.uint8)
    call = function(
        core, "ec_order_facts", ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p,
        ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t,
        ctypes.c_void_p,
    )  # fmt: skip
    done = call(
        pointer(buffer), buffer.size, pointer(offset), pointer(captured), pointer(original), pointer(link),
        pointer(direction), rows, pointer(own), len(own), pointer(facts),
    )  # fmt: skip
    if done < rows:
        raise IndexError(f"packet {done} lies outside the buffer")
    return facts
