"""802.11 frames: Protected is cleared only where the bytes are clear, Ethernet comes out as the stack saw it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etwcap.native import use_backend
from etwcap.native.wifi import CONVERTED, OTHER, UNSUPPORTED, clear_protected, to_ethernet
from etwcap.packets import Chunk, Context, Interface, Mark, PacketTable
from etwcap.repair.wifi import WifiStage
from event_feed import chunk, frames
from frames import HOST, RESOLVER, UDP, framed, ip, udp, wifi

PACKET = ip(HOST, RESOLVER, UDP, udp(50000, 53, b"question"))
ETHERNET = framed(PACKET, sent=True).frame


def laid(payloads: list[bytes], context: Context, link_type: int = 105) -> Chunk:
    name = "Wi-Fi (802.11)" if link_type == 105 else "Wi-Fi"
    number = context.interfaces.add(
        Interface(link_type, name, tap="pktmon", if_index=7, reports=len(payloads)), ("pktmon", 7, link_type)
    )
    packets = PacketTable(len(payloads))
    sizes = np.array([len(payload) for payload in payloads], np.uint32)
    packets["captured"], packets["original"] = sizes, sizes + 100
    packets["offset"] = np.cumsum(sizes) - sizes
    packets["interface"] = np.full(len(payloads), number, np.int32)
    return chunk(np.frombuffer(bytearray(b"".join(payloads)), np.uint8), packets)


@pytest.mark.parametrize("qos", [True, False])
@pytest.mark.parametrize("sent", [True, False])
def test_ethernet_is_the_frame_that_the_stack_saw(sent: bool, qos: bool, backend: str) -> None:
    context = Context()
    known = laid([], context, 1)
    frame = wifi(ETHERNET, sent=sent, qos=qos, protected=True)
    out = WifiStage(context, ethernet=True).process(laid([frame, frame[:-9]], context))
    assert frames(out) == [ETHERNET, ETHERNET[:-9]]
    assert out.packets["original"].tolist() == [len(ETHERNET) + 100, len(ETHERNET) + 91]
    assert len(known.packets) == 0
    assert [context.interfaces[number].name for number in out.packets["interface"]] == ["Wi-Fi", "Wi-Fi"]
    assert len(context.interfaces) == 2
    assert out.packets["flags"].tolist() == [Mark.PROTECTED_CLEARED | Mark.FROM_WIFI] * 2
    assert [interface.reports for interface in context.interfaces] == [2, 0]


def test_ethernet_interface_is_made_where_there_is_none() -> None:
    context = Context()
    WifiStage(context, ethernet=True).process(laid([wifi(ETHERNET, sent=True)], context))
    assert [(interface.name, interface.link_type) for interface in context.interfaces] == [
        ("Wi-Fi (802.11)", 105),
        ("Wi-Fi", 1),
    ]


def test_wifi_interfaces_of_a_capture_file_keep_apart() -> None:
    context = Context()
    frame = wifi(ETHERNET, sent=True)
    for name in ("wlan0", "wlan1"):
        context.interfaces.add(Interface(105, name))
    packets = PacketTable(2)
    packets["captured"] = packets["original"] = np.full(2, len(frame), np.uint32)
    packets["offset"] = np.array([0, len(frame)])
    packets["interface"] = np.array([0, 1], np.int32)
    WifiStage(context, ethernet=True).process(chunk(np.frombuffer(bytearray(frame * 2), np.uint8), packets))
    assert [context.interfaces[n].name for n in packets["interface"]] == ["wlan0 (Ethernet)", "wlan1 (Ethernet)"]
    assert all(interface.reports == 0 for interface in context.interfaces)


def test_frame_without_clear_data_stays_as_it_is(backend: str) -> None:
    null = b"\x48\x01" + bytes(22)
    sealed = b"\x88\x42" + bytes(range(80))
    beacon = b"\x80\x40" + bytes(60)
    context = Context()
    payloads = [null, sealed, beacon, b"", b"\x08", wifi(ETHERNET, sent=True)[:33]]
    out = WifiStage(context, ethernet=True).process(laid(payloads, context))
    assert frames(out) == payloads
    assert not out.packets["flags"].any()
    assert context.receipt.notes["ethernet-none"].count == len(payloads)
    assert "wifi" not in context.receipt.notes


def test_form_that_is_not_handled_is_counted_and_left(backend: str) -> None:
    plain = wifi(ETHERNET, sent=True)
    four = plain[:1] + bytes([plain[1] | 3]) + plain[2:]
    ordered = plain[:1] + bytes([plain[1] | 0x80]) + plain[2:]
    amsdu = plain[:24] + bytes([plain[24] | 0x80]) + plain[25:]
    context = Context()
    out = WifiStage(context, ethernet=True).process(laid([four, ordered, amsdu], context))
    assert frames(out) == [four, ordered, amsdu]
    assert context.receipt.notes["ethernet-unsupported"].count == 3


def test_protected_is_cleared_only_when_asked() -> None:
    frame = wifi(ETHERNET, sent=True, protected=True)
    for clear, expected in ((True, wifi(ETHERNET, sent=True)), (False, frame)):
        context = Context()
        out = WifiStage(context, clear_protected=clear).process(laid([frame], context))
        assert frames(out) == [expected]
        assert bool(out.packets["flags"].any()) is clear


def test_ethernet_frame_that_looks_like_802_11_is_not_touched() -> None:
    context = Context()
    frame = wifi(ETHERNET, sent=True, protected=True)
    out = WifiStage(context, ethernet=True).process(laid([frame], context, link_type=1))
    assert frames(out) == [frame]


heads = st.builds(
    lambda control, rest, tail: control + rest + b"\xaa\xaa\x03\0\0\0" + tail,
    st.sampled_from([b"\x08\x01", b"\x88\x42", b"\x88\x43", b"\x88\xc1", b"\x48\x01", b"\x08\x40"]),
    st.sampled_from([bytes(range(22)), bytes(range(24)), bytes(range(28)), bytes(range(32))]),
    st.binary(max_size=20),
)


@pytest.mark.usefixtures("both_cores")
@given(st.lists(st.one_of(st.binary(max_size=60), heads), max_size=6))
def test_both_back_ends_change_the_same_bytes(payloads: list[bytes]) -> None:
    sizes = np.array([len(payload) for payload in payloads], np.uint32)
    offsets = (np.cumsum(sizes) - sizes).astype(np.int64)
    results = []
    for name in ("native", "twin"):
        with use_backend(name):
            buffer = np.frombuffer(bytearray(b"".join(payloads)), np.uint8)
            changed = clear_protected(buffer, offsets, sizes)
            moved = to_ethernet(buffer, offsets, sizes)
            results.append((changed.tolist(), *(column.tolist() for column in moved), buffer.tobytes()))
    assert results[0] == results[1]
    assert set(results[0][3]) <= {OTHER, CONVERTED, UNSUPPORTED}


def test_frame_outside_the_buffer_is_refused(backend: str) -> None:
    for offset, size in ((-1, 1), (0, 11), (11, 0), (2**62, 1)):
        at, length = np.array([offset], np.int64), np.array([size], np.uint32)
        with pytest.raises(IndexError):
            clear_protected(np.zeros(10, np.uint8), at, length)
        with pytest.raises(IndexError):
            to_ethernet(np.zeros(10, np.uint8), at, length)
