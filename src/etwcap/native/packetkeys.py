"""Keys that recognise a packet at another layer of the stack."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from etwcap.native import twin_packetkeys
from etwcap.native.loader import function, library, pointer


def packet_keys(
    buffer: NDArray[np.uint8],
    offset: NDArray[np.int64],
    captured: NDArray[np.uint32],
    original: NDArray[np.uint32],
    link_type: NDArray[np.uint16],
) -> NDArray[np.uint64]:
    """A key for each packet, equal for two that carry the same thing above the link header; 0 where the bytes do
    not tell.

    IP: addresses, protocol, length and up to 40 bytes of the transport part, without checksums, since the IP header
    may have been rebuilt. Other frames: addresses, EtherType, length, up to 40 bytes. Link types (LINKTYPE_ values)
    1, 101 and 105. Raises IndexError when a packet does not lie inside the buffer.
    """
    core = library()
    if core is None:
        return twin_packetkeys.packet_keys(buffer, offset, captured, original, link_type)
    offset = np.ascontiguousarray(offset, np.int64)
    captured = np.ascontiguousarray(captured, np.uint32)
    original = np.ascontiguousarray(original, np.uint32)
    link_type = np.ascontiguousarray(link_type, np.uint16)
    out = np.empty(len(offset), np.uint64)
    call = function(
        core, "ec_packet_keys", ctypes.c_int64, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p,
        ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p,
    )  # fmt: skip
    got = call(
        pointer(buffer), buffer.size, pointer(offset), pointer(captured), pointer(original), pointer(link_type),
        len(offset), pointer(out),
    )  # fmt: skip
    if got < 0:
        raise IndexError(f"packet {-got - 1} lies outside the buffer")
    return out
