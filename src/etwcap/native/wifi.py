"""802.11 data frames: the Protected bit, and the Ethernet frame inside."""

from __future__ import annotations

import ctypes
from typing import Final

import numpy as np
from numpy.typing import NDArray

from etwcap.native import twin_wifi
from etwcap.native.loader import function, library, pointer

OTHER: Final = 0
CONVERTED: Final = 1
UNSUPPORTED: Final = 2
"""What became of a frame: it holds no clear data and stays; is Ethernet now; has four addresses, HT control or an
A-MSDU."""


def clear_protected(
    buffer: NDArray[np.uint8], offset: NDArray[np.int64], captured: NDArray[np.uint32]
) -> NDArray[np.bool_]:
    """Clear the Protected bit of 802.11 frames whose LLC/SNAP header lies in the clear behind the MAC header; says
    where.

    Raises IndexError when a frame does not lie inside the buffer.
    """
    core = library()
    if core is None:
        return twin_wifi.clear_protected(buffer, offset, captured)
    offset = np.ascontiguousarray(offset, np.int64)
    captured = np.ascontiguousarray(captured, np.uint32)
    changed = np.empty(len(offset), np.uint8)
    call = function(
        core, "ec_wifi_clear_protected", ctypes.c_int64, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p,
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p,
    )  # fmt: skip
    got = call(pointer(buffer), buffer.size, pointer(offset), pointer(captured), len(offset), pointer(changed))
    if got < 0:
        raise IndexError(f"frame {-got - 1} lies outside the buffer")
    return changed.view(np.bool_)


def to_ethernet(
    buffer: NDArray[np.uint8], offset: NDArray[np.int64], captured: NDArray[np.uint32]
) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.uint8]]:
    """Turn 802.11 data frames into Ethernet frames within their own bytes: new offsets, new lengths, what became of
    each.

    Raises IndexError when a frame does not lie inside the buffer.
    """
    core = library()
    offset = np.array(offset, np.int64)
    captured = np.array(captured, np.uint32)
    if core is None:
        return offset, captured, twin_wifi.to_ethernet(buffer, offset, captured)
    state = np.empty(len(offset), np.uint8)
    call = function(
        core, "ec_wifi_to_ethernet", ctypes.c_int64, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p,
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p,
    )  # fmt: skip
    got = call(pointer(buffer), buffer.size, pointer(offset), pointer(captured), len(offset), pointer(state))
    if got < 0:
        raise IndexError(f"frame {-got - 1} lies outside the buffer")
    return offset, captured, state
