from __future__ import annotations

import re
from ipaddress import IPv4Address

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etwcap.inspect.lines import PLAIN, Style, packet_lines
from etwcap.packets import Chunk, Context, EventTable, Interface, PacketTable
from frames import HOST, TCP, ip, tcp

TIME = 1_705_526_400_123_456_789
ETHERNET = bytes.fromhex("0200000000010200000000020800")


def lines(data: bytes, link_type: int, style: Style = PLAIN, name: str = "Ethernet") -> list[str]:
    context = Context()
    context.interfaces.add(Interface(link_type, name))
    packets = PacketTable(
        1,
        time=np.array([TIME]),
        direction=np.array([2]),
        offset=np.array([0]),
        captured=np.array([len(data)]),
        original=np.array([len(data) + 1]),
    )
    chunk = Chunk(np.frombuffer(data or b"\0", np.uint8), packets, EventTable(0), TIME)
    return list(packet_lines(chunk, context, style))


def line(data: bytes, link_type: int = 1, style: Style = PLAIN) -> str:
    (only,) = lines(data, link_type, style)
    found = re.fullmatch(r"\d\d:\d\d:\d\d\.123456 Ethernet Out (.*), length (\d+)", only)
    assert found is not None, only
    assert int(found[2]) == len(data) + 1
    return found[1]


SYN = ip(HOST, IPv4Address("192.0.2.9"), TCP, tcp(50000, 443, 7, 0, 2))


def test_tcp_has_addresses_ports_and_flags() -> None:
    assert line(ETHERNET + SYN) == f"{HOST}.50000 > 192.0.2.9.https TCP [S]"
    assert line(SYN, 101, Style(numeric=True)) == f"{HOST}.50000 > 192.0.2.9.443 TCP [S]"
    assert "seq 7, ack 0, win " in line(SYN, 101, Style(verbose=True))


@pytest.mark.parametrize(
    ("following", "payload", "text"),
    [
        (17, "14e914e9000c0000", "2001:db8::1.mdns > ff02::16.mdns UDP"),
        (58, "8f00000000000001", "2001:db8::1 > ff02::16 ICMP6 multicast listener report v2"),
        (0, "3a00050200000100 8000000000000000", "2001:db8::1 > ff02::16 ICMP6 echo request"),
        (44, "1100000000000001 14e914e9000c0000", "2001:db8::1.mdns > ff02::16.mdns UDP"),
        (44, "1100000900000001 14e914e9000c0000", "2001:db8::1 > ff02::16 UDP, fragment at 8"),
        (50, "00000001", "2001:db8::1 > ff02::16 ESP"),
        (254, "00000001", "2001:db8::1 > ff02::16 protocol 254"),
    ],
)
def test_ipv6_is_told_through_its_extension_headers(following: int, payload: str, text: str) -> None:
    head = bytes([0x60, 0, 0, 0, 0, 12, following, 64])
    addresses = bytes.fromhex("20010db8000000000000000000000001ff020000000000000000000000000016")
    assert line(head + addresses + bytes.fromhex(payload), 101) == text


def test_arp_tags_and_other_frames_are_told() -> None:
    arp = bytes.fromhex("0001080006040001 020000000002 c0000201 000000000000 c0000209")
    assert line(ETHERNET[:12] + b"\x08\x06" + arp) == "ARP who has 192.0.2.9? tell 192.0.2.1"
    assert line(ETHERNET[:12] + b"\x81\x00\x00\x05\x08\x00" + SYN).startswith(f"vlan 5, {HOST}.50000 > ")
    assert line(ETHERNET[:12] + b"\x88\xcc" + bytes(9)) == "02:00:00:00:00:02 > 02:00:00:00:00:01 LLDP"
    assert line(b"", 105) == "802.11"


@given(st.binary(max_size=120), st.sampled_from([0, 1, 12, 101, 105, 108, 113, 228, 229]), st.booleans())
def test_any_bytes_give_one_line(data: bytes, link_type: int, verbose: bool) -> None:
    (only,) = lines(data, link_type, Style(verbose=verbose))
    assert only.isprintable()


def test_a_name_cannot_steer_the_terminal() -> None:
    (only,) = lines(SYN, 101, name="\x1b[31m\n")
    assert "\\x1b[31m\\n" in only
    assert only.isprintable()
