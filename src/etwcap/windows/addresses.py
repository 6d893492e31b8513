"""Addresses and endpoints as NumPy rows, and the reading of Windows' tables into them.

What is read is bytes that Windows filled: a count, then rows of one structure. A count beyond what there is is cut.
"""

from __future__ import annotations

import ctypes
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etwcap.windows.clock import FILETIME_OF_1970
from etwcap.windows.winsock import AF_INET, AF_INET6

ADDRESS = np.dtype(
    [
        ("family", "u1"),
        ("prefix_length", "u1"),
        ("address", "u1", (16,)),
        ("scope", "<u4"),
        ("if_index", "<u4"),
        ("state", "<u4"),
    ]
)
"""An address of this machine or its surroundings.

``family`` 4 or 6; ``address`` in network byte order, an IPv4 address in the first four bytes and zeros behind;
``scope`` the interface index of a link-local address, else 0; ``state`` as its table says (0 where it says nothing).
"""

ENDPOINT = np.dtype(
    [
        ("protocol", "u1"),
        ("family", "u1"),
        ("state", "u1"),
        ("local_port", "<u2"),
        ("remote_port", "<u2"),
        ("local_address", "u1", (16,)),
        ("remote_address", "u1", (16,)),
        ("local_scope", "<u4"),
        ("remote_scope", "<u4"),
        ("process", "<u4"),
        ("created", "<i8"),
    ]
)
"""A TCP or UDP endpoint and its owner.

``protocol`` 6 or 17, ``family`` 4 or 6, ``state`` of TCP as in the MIB (2 listen, 5 established,
11 time wait; 0 for UDP), ``process`` the owner's id (0: unknown), ``created`` ns since 1970 UTC when the endpoint was
bound or connected (0: unknown).
"""

Rows = NDArray[np.void]


def rows_of(data: bytes, row: Any, first: int) -> Rows:
    """The rows of a table: a count of 32 bits, then rows of the ctypes structure ``row`` from offset ``first``."""
    kind = np.dtype(row)
    if len(data) < first:
        return np.empty(0, kind)
    count = min(int.from_bytes(data[:4], "little"), (len(data) - first) // kind.itemsize)
    rows: Rows = np.frombuffer(data, kind, count, first)
    return rows


def table_at(pointer: int, row: Any, first: int = 8) -> Rows:
    """A copy of the rows of a table that Windows allocated at ``pointer``."""
    count = int.from_bytes(ctypes.string_at(pointer, 4), "little")
    return rows_of(ctypes.string_at(pointer, first + count * ctypes.sizeof(row)), row, first)


def addresses(sockaddrs: Rows, if_index: NDArray[Any], *, state: Any = 0, prefix_length: Any = 0) -> Rows:
    """ADDRESS rows of a column of SOCKADDR_INET; rows of another family are left out."""
    made = np.zeros(len(sockaddrs), ADDRESS)
    family = sockaddrs["si_family"]
    made["family"] = np.where(family == AF_INET, 4, np.where(family == AF_INET6, 6, 0))
    v4, v6 = made["family"] == 4, made["family"] == 6
    made["address"][v4, :4] = sockaddrs["Ipv4"]["sin_addr"][v4]
    made["address"][v6] = sockaddrs["Ipv6"]["sin6_addr"][v6]
    made["scope"][v6] = sockaddrs["Ipv6"]["sin6_scope_id"][v6]
    made["if_index"] = if_index
    made["state"] = state
    made["prefix_length"] = prefix_length
    kept: Rows = made[v4 | v6]
    return kept


def endpoints(rows: Rows, protocol: int, family: int) -> Rows:
    """ENDPOINT rows of a table of MIB_TCPROW_OWNER_PID, MIB_UDP6ROW_OWNER_MODULE and their kind."""
    made = np.zeros(len(rows), ENDPOINT)
    made["protocol"], made["family"] = protocol, family
    names = rows.dtype.names or ()
    for ours, theirs in (("local", "Local"), ("remote", "Remote")):
        for prefix, size in (("dw", 4), ("uc", 16)):
            if f"{prefix}{theirs}Addr" in names:
                made[f"{ours}_address"][:, :size] = rows[f"{prefix}{theirs}Addr"]
        if f"dw{theirs}Port" in names:
            made[f"{ours}_port"] = (rows[f"dw{theirs}Port"] & 0xFFFF).astype("<u2").byteswap()
        if f"dw{theirs}ScopeId" in names:
            made[f"{ours}_scope"] = rows[f"dw{theirs}ScopeId"]
    if "dwState" in names:
        made["state"] = rows["dwState"]
    made["process"] = rows["dwOwningPid"]
    if "liCreateTimestamp" in names:
        made["created"] = unix_ns(rows["liCreateTimestamp"])
    return made


def unix_ns(filetimes: NDArray[Any]) -> NDArray[np.int64]:
    """ns since 1970 UTC of FILETIMEs; 0 of those before 1970 (unset ones) and of those beyond 2262."""
    filetimes = filetimes.astype(np.int64)
    fits = (filetimes > FILETIME_OF_1970) & (filetimes < FILETIME_OF_1970 + 2**63 // 100)
    return np.where(fits, np.where(fits, filetimes - FILETIME_OF_1970, 0) * 100, 0)


def text(row: Any) -> str:
    """An ADDRESS row as text, ``fe80::1%7`` where it has a scope."""
    packed = bytes(row["address"])
    if row["family"] == 4:
        return str(IPv4Address(packed[:4]))
    return str(IPv6Address(packed)) + (f"%{row['scope']}" if row["scope"] else "")
