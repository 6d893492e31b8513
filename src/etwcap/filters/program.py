"""From tests to a program with jumps, and its listing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any as Anything

import numpy as np
from numpy.typing import NDArray

from etwcap.errors import UsageError
from etwcap.filters.generate import PAYLOAD, PREFIX, All, Generated, Opposite, Test, Tests
from etwcap.native.filter import INSTRUCTION, Op
from etwcap.packets import linktypes

LARGEST = 200_000
"""Instructions that a program may have."""

_JUMPS = range(Op.JEQ_K, Op.RET)
_BARE = (Op.LD_LEN, Op.LD_FACTS, Op.LD_PROCESS, *range(Op.TAX, Op.ADD_K))


@dataclass(frozen=True, slots=True)
class _Insn:
    op: Op
    k: int = 0
    jt: int = 0
    jf: int = 0
    """of jumps: instructions counted from the end of the program"""


def assemble(generated: Generated) -> NDArray[Anything]:
    """The program as an array of INSTRUCTION; it begins at its first one."""
    writer = _Writer()
    miss = writer.put(Op.RET, 0)
    match = writer.put(Op.RET, 1)
    first = writer.tests(generated.tests, match, miss)
    if generated.needs_payload:
        first = writer.wifi_header(first, radiotap=generated.link_type == linktypes.IEEE802_11_RADIOTAP)
    elif generated.needs_prefix:
        writer.prefix()
    count = len(writer.backwards)
    code = np.zeros(count, INSTRUCTION)
    for at, insn in enumerate(reversed(writer.backwards)):
        jumps = insn.op in _JUMPS
        code[at] = (insn.op, insn.k, count - 1 - insn.jt if jumps else 0, count - 1 - insn.jf if jumps else 0)
    return code


class _Writer:
    """Writes a program from its end to its beginning, so that every jump goes to what is already there."""

    def __init__(self) -> None:
        self.backwards: list[_Insn] = []

    def put(self, op: Op, k: int = 0, jt: int = 0, jf: int = 0) -> int:
        self.backwards.append(_Insn(op, k, jt, jf))
        if len(self.backwards) > LARGEST:
            raise UsageError(f"filter: its program would have more than {LARGEST:,} instructions")
        return len(self.backwards) - 1

    def code(self, *code: tuple[Op, int]) -> int:
        """Instructions in their own order before what is there; the first one's label."""
        for op, k in reversed(code):
            self.put(op, k)
        return len(self.backwards) - 1

    def tests(self, tests: Tests, yes: int, no: int) -> int:
        if isinstance(tests, Test):
            self.put(tests.jump, tests.k, yes, no)
            return self.code(*tests.code)
        if isinstance(tests, Opposite):
            return self.tests(tests.part, no, yes)
        first = yes if isinstance(tests, All) else no
        for part in reversed(tests.parts):
            first = self.tests(part, first, no) if isinstance(tests, All) else self.tests(part, yes, first)
        return first

    def prefix(self) -> int:
        """The length of the radiotap header, little-endian at its byte 2, into its cell and X."""
        return self.code(
            *((Op.LDB_ABS, 3), (Op.LSH_K, 8), (Op.TAX, 0), (Op.LDB_ABS, 2), (Op.OR_X, 0), (Op.ST, PREFIX)),
            (Op.TAX, 0),
        )

    def wifi_header(self, then: int, *, radiotap: bool) -> int:
        """The end of the 802.11 header into its cell: 24 bytes, two more for QoS data; where radiotap says so, up to
        the next multiple of four."""
        unpadded = self.padding(then) if radiotap else then
        longer = self.code((Op.LD_MEM, PAYLOAD), (Op.ADD_K, 2), (Op.ST, PAYLOAD))
        is_quality = self.put(Op.JSET_K, 0x80, longer, unpadded)
        is_no_control = self.put(Op.JSET_K, 0x04, then, is_quality)
        self.put(Op.JSET_K, 0x08, is_no_control, then)
        start = (Op.LD_MEM, PREFIX) if radiotap else (Op.LD_IMM, 0)
        first = self.code(start, (Op.TAX, 0), (Op.ADD_K, 24), (Op.ST, PAYLOAD), (Op.LDB_IND, 0))
        return self.prefix() if radiotap else first

    def padding(self, then: int) -> int:
        """Rounds the header's end up where radiotap's flags field (behind the TSFT, if that is there) says so; asks for
        it only where the first presence word is the only one."""
        rounded = self.code((Op.LD_MEM, PAYLOAD), (Op.ADD_K, 3), (Op.AND_K, 0xFFFFFFFC), (Op.ST, PAYLOAD))
        self.put(Op.JSET_K, 0x20, rounded, then)
        without_time = self.code((Op.LDB_ABS, 8))
        self.put(Op.JSET_K, 0x20, rounded, then)
        with_time = self.code((Op.LDB_ABS, 16))
        has_time = self.put(Op.JSET_K, 0x01000000, with_time, without_time)
        has_more = self.put(Op.JSET_K, 0x80, then, has_time)
        self.put(Op.JSET_K, 0x02000000, has_more, then)
        return self.code((Op.LDW_ABS, 4))


def listing(code: NDArray[Anything]) -> list[str]:
    """The program as lines of text."""
    lines = []
    for at, (op, k, jt, jf) in enumerate(code.tolist()):
        operation = Op(op)
        text = operation.name.lower()
        if operation in _JUMPS:
            text += f" {k:#x}" if operation < Op.JGT_X else ""
            text += f", {jt}, {jf}"
        elif operation is Op.RET:
            text = "match" if k else "no match"
        elif operation not in _BARE:
            text += f" {k:#x}" if operation in (Op.LD_IMM, Op.AND_K) else f" {k}"
        lines.append(f"{at:4} {text}")
    return lines
