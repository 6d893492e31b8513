"""Reading addresses out of packets, and putting others in their place with the checksums kept."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etwcap.native import twin_anonymize
from etwcap.native.loader import function, library, pointer


def read_addresses(buffer: NDArray[np.uint8], fields: NDArray[Any]) -> NDArray[np.uint8]:
    """The captured bytes of each address as a row of 16, the rest zero. ``fields`` are rows of ``headers.FIELD``.

    Raises IndexError when a field does not lie inside the buffer.
    """
    fields = np.ascontiguousarray(fields)
    core = library()
    if core is None:
        return twin_anonymize.read_addresses(buffer, fields)
    out = np.empty((len(fields), 16), np.uint8)
    call = function(
        core, "ec_fields_read", ctypes.c_int64, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t,
        ctypes.c_void_p,
    )  # fmt: skip
    got = call(pointer(buffer), buffer.size, pointer(fields), len(fields), pointer(out))
    if got < 0:
        raise IndexError(f"address {-got - 1} lies outside the buffer")
    return out


def write_addresses(buffer: NDArray[np.uint8], fields: NDArray[Any], addresses: NDArray[np.uint8]) -> None:
    """Put ``addresses`` (rows of 16 bytes) in place and update the checksums over them (RFC 1624).

    A checksum that is right stays right, one that is wrong stays wrong by as much. Raises IndexError when a field or
    one of its checksums does not lie inside the buffer, ValueError where there are fewer addresses than fields.
    """
    fields = np.ascontiguousarray(fields)
    addresses = np.ascontiguousarray(addresses, np.uint8)
    if addresses.shape != (len(fields), 16):
        raise ValueError("one address of 16 bytes for each field")
    core = library()
    if core is None:
        twin_anonymize.write_addresses(buffer, fields, addresses)
        return
    call = function(
        core, "ec_fields_write", ctypes.c_int64, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t,
        ctypes.c_void_p,
    )  # fmt: skip
    got = call(pointer(buffer), buffer.size, pointer(fields), len(fields), pointer(addresses))
    if got < 0:
        raise IndexError(f"address {-got - 1} or a checksum over it lies outside the buffer")
