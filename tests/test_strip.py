"""``--strip-payload`` and ``-s``: headers stay, content goes, lengths are told."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

import pcapng_build as build
from capture_files import chunk_of, read
from command_line import etwcap
from etwcap.native.headers import header_lengths
from etwcap.packets import Context, Interface, SideBlock
from etwcap.repair.strip import SnapLength, StripStage
from frames import HOST, HOST6, HOST_MAC, SERVER, SERVER6, TCP, UDP, ethernet, framed, ip, ipv4, ipv6, tcp, udp, wifi
from header_frames import (
    QUESTION,
    dhcp_answer,
    neighbor_question,
    recorded_route,
    routed6,
    unreachable,
    upper_pdu,
)


def kept(frame: bytes, link_type: int = 1) -> int:
    buffer = np.frombuffer(frame, np.uint8)
    sizes = np.array([len(frame)], np.uint32)
    return int(header_lengths(buffer, np.zeros(1, np.int64), sizes, np.array([link_type], np.uint16))[0])


OPTIONS = b"\x02\x04\x05\xb4\x01\x01\x04\x02"
EXTENDED = b"\x11\0" + bytes(6) + udp(1, 2, b"secret")
FRAGMENT = ipv4(HOST, SERVER, UDP, b"secret")[:6] + b"\0\x08" + ipv4(HOST, SERVER, UDP, b"secret")[8:]
SEGMENT = tcp(50000, 80, 1, 1, 24, b"secret", OPTIONS)


@pytest.mark.parametrize(
    ("frame", "size"),
    [
        (framed(ip(HOST, SERVER, TCP, SEGMENT), sent=True).frame, 14 + 20 + 28),
        (framed(ip(HOST6, SERVER6, TCP, SEGMENT), sent=True).frame, 14 + 40 + 28),
        (QUESTION, 14 + 20 + 8),
        (dhcp_answer(), 14 + 20 + 8),
        (recorded_route(), 14 + 32 + 8),
        (routed6(), 14 + 40 + 40 + 20),
        (unreachable(), 14 + 20 + 8 + 20 + 8),
        (neighbor_question(), len(neighbor_question())),
        (framed(ipv4(HOST, SERVER, 99, b"secret"), sent=True).frame, 14 + 20),
        (framed(ipv4(HOST, SERVER, 50, bytes(8) + b"secret"), sent=True).frame, 14 + 20 + 8),
        (framed(ipv6(HOST6, SERVER6, 60, EXTENDED), sent=True).frame, 14 + 40 + 8 + 8),
        (framed(FRAGMENT, sent=True).frame, 14 + 20),
        (ethernet(HOST_MAC, HOST_MAC, 0x88B5, b"secret"), 14),
        (ethernet(HOST_MAC, HOST_MAC, 0x8100, b"\0\x05\x88\xb5secret"), 18),
        (QUESTION + bytes(20), 14 + 20 + 8),
        (QUESTION[:30], 30),
        (b"", 0),
    ],
)  # fmt: skip
def test_an_ethernet_frame_is_cut_behind_its_last_header(frame: bytes, size: int, backend: str) -> None:
    assert kept(frame) == size
    assert b"secret" not in frame[:size]


@pytest.mark.parametrize(
    ("link_type", "frame", "size"),
    [
        (101, QUESTION[14:], 28),
        (105, wifi(QUESTION, sent=True), 26 + 8 + 28),
        (105, b"\x88\x41" + wifi(QUESTION, sent=True)[2:26] + b"ciphertext", 26),
        (127, b"\0\0\x08\0" + bytes(4) + wifi(QUESTION, sent=True), 8 + 26 + 8 + 28),
        (127, b"\0\0\xff\0" + bytes(4) + wifi(QUESTION, sent=True), 8 + len(wifi(QUESTION, sent=True))),
        (252, upper_pdu(), len(upper_pdu()) - 14),
        (147, b"anything", 0),
    ],
)
def test_other_link_types_are_cut_too(link_type: int, frame: bytes, size: int, backend: str) -> None:
    assert kept(frame, link_type) == size


def test_lengths_stay_and_the_receipt_tells() -> None:
    context = Context()
    context.interfaces.add(Interface(1))
    chunk = chunk_of([QUESTION, QUESTION[:42]], original=np.array([80, 42]), interface=np.zeros(2, np.int32))
    chunk.side_blocks = [SideBlock(10, b"secrets")]
    out = StripStage(context).process(chunk)
    assert (out.packets["captured"].tolist(), out.packets["original"].tolist()) == ([42, 42], [80, 42])
    assert out.side_blocks == []
    notes = {kind: note.count for kind, note in context.receipt.notes.items()}
    assert notes == {"strip": 1, "strip-blocks": 1}


def test_snap_length_cuts_what_is_longer() -> None:
    context = Context()
    chunk = SnapLength(context, 20).process(chunk_of([bytes(30), bytes(20), bytes(5)]))
    assert chunk.packets["captured"].tolist() == [20, 20, 5]
    assert context.receipt.notes["snaplen"].count == 1


def test_the_output_holds_no_content(tmp_path: Path) -> None:
    frame = framed(ip(HOST, SERVER, TCP, SEGMENT), sent=True).frame
    data = build.section("<") + build.interface("<", 1) + build.packet("<", 0, 10**9, frame, (1, b"a comment"))
    (tmp_path / "in.pcapng").write_bytes(data)
    done = etwcap("convert", tmp_path / "in.pcapng", "-w", tmp_path / "out.pcapng", "--strip-payload")
    assert done.returncode == 0, done.stderr
    (packet,) = read(tmp_path / "out.pcapng").packets
    assert (packet["data"], packet["original"], packet["options"]) == (frame[:-6], len(frame), b"")
    assert "cut to their headers: 1" in done.stderr


@pytest.mark.parametrize(("length", "captured"), [("0", len(QUESTION)), ("34", 34), ("9999", len(QUESTION))])
def test_snaplen_on_the_command_line(tmp_path: Path, length: str, captured: int) -> None:
    head = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1)
    record = struct.pack("<IIII", 1, 0, len(QUESTION), len(QUESTION)) + QUESTION
    (tmp_path / "in.pcap").write_bytes(head + record)
    assert etwcap("convert", tmp_path / "in.pcap", "-w", tmp_path / "out.pcap", "-s", length).returncode == 0
    (packet,) = read(tmp_path / "out.pcap").packets
    assert (packet["captured"], packet["original"]) == (captured, len(QUESTION))


def test_a_length_below_zero_is_wrong_usage(tmp_path: Path) -> None:
    done = etwcap("convert", Path(__file__).parents[1] / "examples" / "sample-pktmon.etl", "-s", "-1", cwd=tmp_path)
    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
