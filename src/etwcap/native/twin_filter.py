"""Twin of filter.c: runs a filter program, one packet after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CELLS = 32
_NOTHING = 0xFFFFFFFF
_MASK = 0xFFFFFFFF
_SIZES = (1, 2, 4)
_LD_IMM, _LD_LEN, _LD_MEM, _LD_FACTS, _LD_PROCESS, _LDX_MEM, _LDX_MSH, _ST, _TAX, _NEG = range(6, 16)
_ADD_X, _SUB_X, _MUL_X, _DIV_X, _MOD_X, _AND_X, _OR_X, _XOR_X, _LSH_X, _RSH_X = range(16, 26)
_ADD_K, _AND_K, _LSH_K, _JEQ_K, _JGT_K, _JGE_K, _JSET_K, _JGT_X, _JGE_X, _RET = range(26, 36)

_ALU: dict[int, Callable[[int, int], int]] = {
    _ADD_X: lambda a, x: a + x,
    _SUB_X: lambda a, x: a - x,
    _MUL_X: lambda a, x: a * x,
    _DIV_X: lambda a, x: a // x,
    _MOD_X: lambda a, x: a % x,
    _AND_X: lambda a, x: a & x,
    _OR_X: lambda a, x: a | x,
    _XOR_X: lambda a, x: a ^ x,
    _LSH_X: lambda a, x: a << x if x < 32 else 0,
    _RSH_X: lambda a, x: a >> x if x < 32 else 0,
}
_JUMPS: dict[int, Callable[[int, int, int], bool]] = {
    _JEQ_K: lambda a, k, x: a == k,
    _JGT_K: lambda a, k, x: a > k,
    _JGE_K: lambda a, k, x: a >= k,
    _JSET_K: lambda a, k, x: a & k != 0,
    _JGT_X: lambda a, k, x: a > x,
    _JGE_X: lambda a, k, x: a >= x,
}

Instruction = tuple[int, int, int, int]


def _check(code: list[Instruction], entry: list[int]) -> None:
    count = len(code)
    sound = count > 0 and code[-1][0] == _RET and all(first == _NOTHING or first < count for first in entry)
    for at, (op, k, jt, jf) in enumerate(code):
        sound &= op <= _RET
        sound &= op not in _JUMPS or (at < jt < count and at < jf < count)
        sound &= op not in (_LD_MEM, _LDX_MEM, _ST) or k < _CELLS
        sound &= op != _LSH_K or k < 32
    if not sound:
        raise ValueError("the filter program is not sound")


def _matches(code: list[Instruction], at: int, data: bytes, length: int, facts: int, process: int) -> bool:
    a = x = 0
    cells = [0] * _CELLS
    while True:
        op, k, jt, jf = code[at]
        at += 1
        if op < _LD_IMM:
            start, size = k + (x if op > 2 else 0), _SIZES[op % 3]
            if start + size > len(data):
                return False
            a = int.from_bytes(data[start : start + size], "big")
        elif op in _JUMPS:
            at = jt if _JUMPS[op](a, k, x) else jf
        elif op in _ALU:
            if x == 0 and op in (_DIV_X, _MOD_X):
                return False
            a = _ALU[op](a, x) & _MASK
        elif op == _LDX_MSH:
            if k >= len(data):
                return False
            x = (data[k] & 15) << 2
        elif op in (_LD_IMM, _LD_LEN, _LD_FACTS, _LD_PROCESS):
            a = {_LD_IMM: k, _LD_LEN: length, _LD_FACTS: facts, _LD_PROCESS: process}[op]
        elif op == _LD_MEM:
            a = cells[k]
        elif op == _LDX_MEM:
            x = cells[k]
        elif op == _ST:
            cells[k] = a
        elif op == _TAX:
            x = a
        elif op == _RET:
            return k != 0
        else:
            a = {_NEG: -a, _ADD_K: a + k, _AND_K: a & k, _LSH_K: a << k & _MASK if op == _LSH_K else 0}[op] & _MASK


def filter_run(
    code: NDArray[Any],
    entry: NDArray[np.uint32],
    buffer: NDArray[np.uint8],
    offset: NDArray[np.int64],
    captured: NDArray[np.uint32],
    original: NDArray[np.uint32],
    interface: NDArray[np.int32],
    facts: NDArray[np.uint32] | None,
    process: NDArray[np.uint32] | None,
) -> NDArray[np.bool_]:
    """Twin of :func:`etwcap.native.filter.filter_run`."""
    program: list[Instruction] = code.tolist()
    entries: list[int] = entry.tolist()
    _check(program, entries)
    rows = len(offset)
    keep = np.zeros(rows, np.bool_)
    all_facts = [0] * rows if facts is None else facts.tolist()
    owners = [0] * rows if process is None else process.tolist()
    columns = zip(offset.tolist(), captured.tolist(), original.tolist(), interface.tolist(), strict=True)
    for row, (start, size, length, number) in enumerate(columns):
        if start < 0 or start + size > buffer.size or not 0 <= number < len(entries):
            raise IndexError(f"packet {row} lies outside the buffer, or its interface has no entry")
        if entries[number] != _NOTHING:
            data = buffer[start : start + size].tobytes()
            keep[row] = _matches(program, entries[number], data, length, all_facts[row], owners[row])
    return keep
