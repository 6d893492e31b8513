"""The header of a raw-socket record, from what a receive call gives: ancillary data is not believed."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import need_native_core
from etwcap.errors import NativeCoreError
from etwcap.native import use_backend
from etwcap.native.rawsock import raw_header
from etwcap.providers.rawsocket_layout import MAGIC, RAW_RECORD, Present

SOURCE = bytes(range(16))
TARGET = bytes(range(100, 116))
NAME6 = struct.pack("<HHI16sI", 23, 0, 0, SOURCE, 7)
NAME4 = struct.pack("<HH4s8x", 2, 0, b"\x0a\x01\x02\x03")


@pytest.fixture(autouse=True)
def _native() -> None:
    need_native_core()


def item(level: int, kind: int, data: bytes, *, length: int | None = None) -> bytes:
    size = 16 + len(data) if length is None else length
    return struct.pack("<QII", size & 2**64 - 1, level, kind) + data + bytes(-len(data) % 8)


def header(name: bytes, control: bytes, family: int, *, number: int = 0, socket: int = 0, cut: bool = False) -> np.void:
    made = raw_header(name, control, family=family, number=number, socket=socket, cut=cut)
    row: np.void = np.frombuffer(made, RAW_RECORD)[0]
    return row


PKTINFO = item(41, 19, TARGET + struct.pack("<I", 5))
HOPS = item(41, 21, struct.pack("<I", 64))
CLASS = item(41, 39, struct.pack("<I", 0xB8))


def test_an_ipv6_receive_tells_source_scope_destination_interface_hops_and_class() -> None:
    row = header(NAME6, PKTINFO + HOPS + CLASS, 6, number=2**40, socket=3)
    assert (row["magic"], row["kind"], row["family"], row["number"], row["socket"]) == (MAGIC, 1, 6, 2**40, 3)
    assert row["present"] == int(~Present.CUT & 31)
    assert (row["source"].tobytes(), row["scope"]) == (SOURCE, 7)
    assert (row["destination"].tobytes(), row["interface"]) == (TARGET, 5)
    assert (row["hop_limit"], row["traffic_class"], row["zero"]) == (64, 0xB8, 0)


def test_an_ipv4_receive_tells_source_and_destination() -> None:
    control = item(0, 19, b"\x0a\x01\x02\x04" + struct.pack("<I", 9)) + item(0, 21, struct.pack("<I", 63))
    row = header(NAME4, control, 4, cut=True)
    assert row["present"] == Present.DESTINATION | Present.INTERFACE | Present.HOP_LIMIT | Present.NUMBER | Present.CUT
    assert row["source"].tobytes() == b"\x0a\x01\x02\x03" + bytes(12)
    assert row["destination"].tobytes() == b"\x0a\x01\x02\x04" + bytes(12)
    assert (row["interface"], row["hop_limit"]) == (9, 63)


def test_the_items_of_the_other_family_are_passed_over() -> None:
    assert header(NAME4, PKTINFO + HOPS, 4)["present"] == Present.NUMBER
    assert header(NAME6, item(0, 19, TARGET + bytes(4)) + CLASS, 6)["present"] == Present.NUMBER | Present.TRAFFIC_CLASS


@pytest.mark.parametrize(
    "control",
    [
        b"",
        PKTINFO[:-5],
        item(41, 19, TARGET),  # too short for an interface index
        item(41, 21, b"\x40\0\0"),
        item(41, 21, struct.pack("<I", 256)),
        item(41, 21, struct.pack("<i", -1)),
        item(41, 21, b"\x40\0\0\0", length=15),
        item(41, 21, b"\x40\0\0\0", length=0),
        item(41, 21, b"\x40\0\0\0", length=25),
        item(41, 21, b"\x40\0\0\0", length=2**64 - 1),
        item(41, 99, b"\x40\0\0\0", length=2**64 - 8) + HOPS,
    ],
)
def test_ancillary_data_that_does_not_fit_its_lengths_tells_nothing(control: bytes) -> None:
    row = header(NAME6, control, 6)
    assert row["present"] == Present.NUMBER
    assert not row["destination"].any()
    assert (row["hop_limit"], row["interface"]) == (0, 0)


@pytest.mark.parametrize("name", [b"", NAME6[:27], NAME4, bytes(28)])
def test_a_sender_of_another_kind_is_no_source(name: bytes) -> None:
    row = header(name, PKTINFO, 6)
    assert not row["source"].any()
    assert row["scope"] == 0


def items_in(control: bytes, level: int) -> dict[int, bytes]:
    """The reference: the last item of each type, as far as lengths can be believed."""
    found, at = {}, 0
    while len(control) - at >= 16:
        length, its_level, kind = struct.unpack_from("<QII", control, at)
        if not 16 <= length <= len(control) - at:
            break
        if its_level == level:
            data = control[at + 16 : at + length]
            if (kind == 19 and len(data) >= 20) or (
                kind in (21, 39) and len(data) >= 4 and int.from_bytes(data[:4], "little") < 256
            ):
                found[kind] = data
        at += -(-length // 8) * 8
    return found


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.builds(
                item,
                st.sampled_from([0, 41]),
                st.sampled_from([19, 21, 39, 40, 4]),
                st.binary(max_size=24),
                length=st.one_of(st.none(), st.integers(0, 60)),
            ),
        ),
        max_size=6,
    ),
    st.binary(max_size=40),
)
def test_any_ancillary_data_reads_as_its_specification(parts: list[bytes], name: bytes) -> None:
    control = b"".join(parts)
    row = header(name, control, 6)
    found = items_in(control, 41)
    assert bool(row["present"] & Present.DESTINATION) == (19 in found)
    assert bool(row["present"] & Present.HOP_LIMIT) == (21 in found)
    assert bool(row["present"] & Present.TRAFFIC_CLASS) == (39 in found)
    if 19 in found:
        assert row["destination"].tobytes() == found[19][:16]
    if 21 in found:
        assert row["hop_limit"] == found[21][0]


def test_without_the_native_core_there_is_no_receiver() -> None:
    with use_backend("twin"), pytest.raises(NativeCoreError):
        raw_header(NAME6, b"", family=6)
