"""IP headers made from the fields of a WFP message."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

HOP_LIMIT: Final = 64
"""TTL and hop limit of every header: the events do not tell them."""
IPV4_HEADER_SIZE: Final = 20
IPV6_HEADER_SIZE: Final = 40

_IPV4: Final = np.dtype(
    [
        ("version", "u1"),
        ("service", "u1"),
        ("length", ">u2"),
        ("id", ">u2"),
        ("fragment", ">u2"),
        ("ttl", "u1"),
        ("protocol", "u1"),
        ("checksum", ">u2"),
        ("source", "V4"),
        ("destination", "V4"),
    ]
)
"""RFC 791, 3.1"""
_IPV6: Final = np.dtype(
    [
        ("version", ">u4"),
        ("length", ">u2"),
        ("protocol", "u1"),
        ("hop_limit", "u1"),
        ("source", "V16"),
        ("destination", "V16"),
    ]
)
"""RFC 8200, 3"""


def put_ip_headers(
    buffer: NDArray[np.uint8], frame: NDArray[np.int64], length: NDArray[np.int64], fields: NDArray[np.void]
) -> int:
    """Write an IP header right before each frame (its transport header and all behind, ``length`` bytes); returns the
    header's size.

    ``fields`` are rows of ``wfp_layout.MESSAGES``. A packet that is longer than the header can say gets length 0, as
    Windows' own large sends have.
    """
    if fields.dtype["source"].itemsize == 4:
        header = np.zeros(len(frame), _IPV4)
        total = length + IPV4_HEADER_SIZE
        header["version"], header["ttl"] = 0x45, HOP_LIMIT
        header["length"] = np.where(total <= 0xFFFF, total, 0)
    else:
        header = np.zeros(len(frame), _IPV6)
        header["version"], header["hop_limit"] = 6 << 28, HOP_LIMIT
        header["length"] = np.where(length <= 0xFFFF, length, 0)
    for name in ("source", "destination", "protocol"):
        header[name] = fields[name]
    size = header.dtype.itemsize
    octets = header.view(np.uint8).reshape(len(frame), size)
    if size == IPV4_HEADER_SIZE:
        total = octets.view(">u2").sum(1, dtype=np.uint32)
        total = (total & 0xFFFF) + (total >> 16)
        header["checksum"] = 0xFFFF - ((total & 0xFFFF) + (total >> 16))
    buffer[(frame - size)[:, None] + np.arange(size)] = octets
    return size
