"""Running compiled capture filters over packets."""

from __future__ import annotations

import ctypes
import enum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from etwcap.native import twin_filter
from etwcap.native.loader import function, library, pointer

INSTRUCTION: Final = np.dtype([("op", "<u4"), ("k", "<u4"), ("jt", "<u4"), ("jf", "<u4")])
"""One instruction. ``jt`` and ``jf``: of jumps, the instruction to go on with, always a later one."""

CELLS: Final = 32
"""Cells for intermediate values."""

NOTHING: Final = 0xFFFFFFFF
"""Entry of an interface none of whose packets match."""


class Op(enum.IntEnum):
    """Operations on A, X and the cells: 32 bits, unsigned, as in the Berkeley packet filter. A load beyond the captured
    bytes and a division by zero end the program without a match."""

    LDB_ABS = 0
    LDH_ABS = 1
    LDW_ABS = 2
    LDB_IND = 3
    LDH_IND = 4
    LDW_IND = 5
    LD_IMM = 6
    LD_LEN = 7
    LD_MEM = 8
    LD_FACTS = 9
    LD_PROCESS = 10
    LDX_MEM = 11
    LDX_MSH = 12
    ST = 13
    TAX = 14
    NEG = 15
    ADD_X = 16
    SUB_X = 17
    MUL_X = 18
    DIV_X = 19
    MOD_X = 20
    AND_X = 21
    OR_X = 22
    XOR_X = 23
    LSH_X = 24
    RSH_X = 25
    ADD_K = 26
    AND_K = 27
    LSH_K = 28
    JEQ_K = 29
    JGT_K = 30
    JGE_K = 31
    JSET_K = 32
    JGT_X = 33
    JGE_X = 34
    RET = 35


class _Packets(ctypes.Structure):
    _fields_ = [
        ("buffer", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("offset", ctypes.c_void_p),
        ("captured", ctypes.c_void_p),
        ("original", ctypes.c_void_p),
        ("interface", ctypes.c_void_p),
        ("facts", ctypes.c_void_p),
        ("process", ctypes.c_void_p),
        ("rows", ctypes.c_size_t),
    ]


def filter_run(
    code: NDArray[Any],
    entry: NDArray[np.uint32],
    buffer: NDArray[np.uint8],
    offset: NDArray[np.int64],
    captured: NDArray[np.uint32],
    original: NDArray[np.uint32],
    interface: NDArray[np.int32],
    facts: NDArray[np.uint32] | None = None,
    process: NDArray[np.uint32] | None = None,
) -> NDArray[np.bool_]:
    """Which packets match. ``code``: instructions (INSTRUCTION); ``entry[n]``: the first one for packets of interface
    n, or NOTHING; ``facts`` and ``process``: what LD_FACTS and LD_PROCESS read, 0 where None.

    Raises IndexError for a packet outside the buffer or of an interface without an entry, ValueError for a program
    that is not sound.
    """
    core = library()
    code = np.ascontiguousarray(code, INSTRUCTION)
    if core is None:
        return twin_filter.filter_run(code, entry, buffer, offset, captured, original, interface, facts, process)
    entry = np.ascontiguousarray(entry, np.uint32)
    offset = np.ascontiguousarray(offset, np.int64)
    captured = np.ascontiguousarray(captured, np.uint32)
    original = np.ascontiguousarray(original, np.uint32)
    interface = np.ascontiguousarray(interface, np.int32)
    facts = None if facts is None else np.ascontiguousarray(facts, np.uint32)
    process = None if process is None else np.ascontiguousarray(process, np.uint32)
    rows = len(offset)
    keep = np.empty(rows, np.bool_)
    packets = _Packets(
        pointer(buffer), buffer.size, pointer(offset), pointer(captured), pointer(original), pointer(interface),
        None if facts is None else pointer(facts), None if process is None else pointer(process), rows,
    )  # fmt: skip
    call = function(
        core, "ec_filter_run", ctypes.c_int64, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t,
        ctypes.c_void_p, ctypes.c_void_p,
    )  # fmt: skip
    got = call(
        pointer(code), len(code), pointer(entry), len(entry), ctypes.addressof(packets), pointer(keep),
    )  # fmt: skip
    if got == -(2**63):
        raise ValueError("the filter program is not sound")
    if got < 0:
        raise IndexError(f"packet {-got - 1} lies outside the buffer, or its interface has no entry")
    return keep
