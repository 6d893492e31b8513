"""The machine that runs filter programs: both cores alike, and no program leaves its bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from etwcap.errors import UsageError
from etwcap.filters.compiled import Filter
from etwcap.native import use_backend
from etwcap.native.filter import CELLS, INSTRUCTION, NOTHING, Op, filter_run
from filter_packets import LINK_TYPES, Expressions, original_of, packets_of

JUMPS = range(Op.JEQ_K, Op.RET)


def run(code: NDArray[Any], packets: list[bytes], **more: Any) -> list[bool]:
    lengths = np.array([len(packet) for packet in packets], np.int64)
    keep = filter_run(
        code,
        more.pop("entry", np.zeros(1, np.uint32)),
        np.frombuffer(b"".join(packets) or b"\0", np.uint8),
        more.pop("offset", np.cumsum(lengths) - lengths),
        lengths.astype(np.uint32),
        np.array([original_of(number, packet) for number, packet in enumerate(packets)], np.uint32),
        more.pop("interface", np.zeros(len(packets), np.int32)),
        **more,
    )
    return [bool(each) for each in keep]


def program(*code: tuple[int, int] | tuple[int, int, int, int]) -> NDArray[Any]:
    return np.array([(*each, 0, 0)[:4] for each in code], INSTRUCTION)


@pytest.mark.usefixtures("both_cores")
@pytest.mark.parametrize("link_type", LINK_TYPES)
def test_both_cores_pick_the_same_packets(link_type: int) -> None:
    random = Expressions(link_type + 1000)
    packets = packets_of(link_type)
    facts = np.arange(len(packets), dtype=np.uint32)
    compared = 0
    for _ in range(40):
        try:
            code = Filter(random.expression()).program(link_type)
        except UsageError:
            continue
        picked = []
        for name in ("native", "twin"):
            with use_backend(name):
                picked.append(run(code, packets, facts=facts, process=facts))
        assert picked[0] == picked[1]
        compared += 1
    assert compared > 3


def instructions(count: int) -> st.SearchStrategy[list[tuple[int, int, int, int]]]:
    def one(at: int) -> st.SearchStrategy[tuple[int, int, int, int]]:
        small, any_k = st.integers(0, 40), st.integers(0, 2**32 - 1)
        later = st.integers(at + 1, count)
        return st.tuples(st.integers(0, Op.RET), st.one_of(small, any_k), later, later)

    return st.tuples(*(one(at) for at in range(count))).map(lambda made: [*made, (int(Op.RET), 1, 0, 0)])


@pytest.mark.usefixtures("both_cores")
@given(st.integers(0, 12).flatmap(instructions), st.lists(st.binary(max_size=40), max_size=5))
def test_both_cores_agree_on_any_program(code: list[tuple[int, int, int, int]], packets: list[bytes]) -> None:
    found: list[object] = []
    for name in ("native", "twin"):
        with use_backend(name):
            try:
                found.append(run(np.array(code, INSTRUCTION), packets))
            except ValueError as error:
                found.append(str(error))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "code",
    [
        program(),
        program((Op.LD_IMM, 1)),
        program((Op.JEQ_K, 0, 0, 1), (Op.RET, 1)),
        program((Op.JEQ_K, 0, 1, 2), (Op.RET, 1)),
        program((Op.LD_MEM, CELLS), (Op.RET, 1)),
        program((Op.LDX_MEM, CELLS), (Op.RET, 1)),
        program((Op.ST, 0xFFFFFFFF), (Op.RET, 1)),
        program((Op.LSH_K, 32), (Op.RET, 1)),
        program((Op.RET + 1, 0), (Op.RET, 1)),
    ],
)
def test_a_program_that_is_not_sound_is_refused(code: NDArray[Any], backend: str) -> None:
    with pytest.raises(ValueError, match="not sound"):
        run(code, [b"packet"])


@pytest.mark.usefixtures("backend")
def test_an_entry_behind_the_program_is_refused() -> None:
    with pytest.raises(ValueError, match="not sound"):
        run(program((Op.RET, 1)), [b"packet"], entry=np.ones(1, np.uint32))


@pytest.mark.usefixtures("backend")
def test_a_packet_outside_the_buffer_or_of_an_unknown_interface_is_refused() -> None:
    code = program((Op.RET, 1))
    for wrong in (
        {"offset": np.array([1], np.int64)},
        {"offset": np.array([-1], np.int64)},
        {"interface": np.array([1], np.int32)},
        {"interface": np.array([-1], np.int32)},
    ):
        with pytest.raises(IndexError, match="packet 0"):
            run(code, [b"packet"], **wrong)


@pytest.mark.usefixtures("backend")
def test_loads_end_the_program_one_byte_beyond_the_packet() -> None:
    for op, size in ((Op.LDB_ABS, 1), (Op.LDH_ABS, 2), (Op.LDW_ABS, 4)):
        packets = [b"x" * (10 + size - 1), b"x" * (10 + size)]
        assert run(program((op, 10), (Op.RET, 1)), packets) == [False, True]
    indexed = program((Op.LD_IMM, 0xFFFFFFFF), (Op.TAX, 0), (Op.LDB_IND, 1), (Op.RET, 1))
    assert run(indexed, [b"x" * 20]) == [False]


@pytest.mark.usefixtures("backend")
def test_each_interface_has_its_own_program() -> None:
    code = program((Op.RET, 1), (Op.RET, 0))
    interface = np.array([0, 1, 2], np.int32)
    entry = np.array([0, 1, NOTHING], np.uint32)
    assert run(code, [b"a", b"b", b"c"], entry=entry, interface=interface) == [True, False, False]
