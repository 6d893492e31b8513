"""Filters pick exactly the packets that tcpdump picks."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from conftest import tool_path
from etwcap.errors import UsageError
from etwcap.filters.compiled import Filter
from etwcap.native.filter import filter_run
from filter_packets import LINK_TYPES, Expressions, original_of, packets_of, write_capture

HAND_WRITTEN = """
host 192.0.2.10
src host 192.0.2.10 and dst host 198.51.100.80
ip host 192.0.2.10 and not 198.51.100.80
host 192.0.2.10 and (198.51.100.80 or 192.0.2.53)
ip and not net 192.0.2.0/24
tcp[tcpflags] & (tcp-syn|tcp-fin) != 0 and not src and dst net 192.0.2
tcp[tcpflags] & (tcp-rst|tcp-ack) == (tcp-rst|tcp-ack)
tcp port 80 and (((ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2)) != 0)
ip[2:2] > 576
ether[0] & 1 = 0 and ip[16] >= 224
icmp[icmptype] != icmp-echo and icmp[icmptype] != icmp-echoreply
icmp6[icmp6type] != icmp6-echo and icmp6[icmp6type] != icmp6-echoreply
not host 192.0.2.10 and 198.51.100.80
tcp dst port 80 or 443 or 22
port 80 or not 443
tcp and not port 443
udp port 53 or icmp or arp
vlan 100 && vlan 200
vlan && vlan 5 && ip
vlan 5 or ip
not vlan and ip
ip6 proto 17
proto 17
portrange 20-100
src portrange 400-500 or udp
less 60 or greater 1000
8 % 3 * 2 = 2
8 ^ 3 | 4 = 15
1 + ip[0] = 70
ip[60] = 0 or ip
not ip[200] = 0
ip[tcp[12] & 15] = 69
4 / ip[1] = 0
net 0.0.0.0/0
ip6 net ::/0
""".strip().splitlines()
REFUSED_TOO_OFTEN = (b"shift by more than 31 bits", b"division by zero", b"modulus by zero")
"""libpcap 1.10 looks at the first instruction of the right side, which is not always the right side's value: it refuses
``1 << ip[40]`` and ``1 / ip[0]``."""
UPPER_PDU, WIFI = 252, (105, 127)
ANY_IP = "ip or not ip"
"""Before an expression on 802.11 packets: it makes libpcap reserve its cell for the header's end first. Else libpcap
1.10 may use that cell for arithmetic too, and then looks for headers at wrong places."""
CUT_SHORT = ("not ip[200] = 0", "ip[60] = 0 or ip")
"""Where a load beyond the packet decides, the optimiser of libpcap may leave the load out."""


def picked_by_tcpdump(program: str, path: Path, expression: str, *options: str) -> tuple[set[int] | None, bool]:
    """Numbers of the packets of a capture that tcpdump picks, None where it refuses the expression; and whether it
    should not have refused it."""
    command = [program, *options, "-r", str(path), "-w", "-", "--", expression]
    done = subprocess.run(command, capture_output=True, timeout=30, check=False)
    if done.returncode:
        return None, any(text in done.stderr for text in REFUSED_TOO_OFTEN)
    found, at = set(), 24
    while at < len(done.stdout):
        _, number, size, _ = struct.unpack_from("<IIII", done.stdout, at)
        found.add(number)
        at += 16 + size
    return found, False


def ours(expression: str, link_type: int, packets: list[bytes]) -> set[int] | None:
    """Numbers of the packets that etwcap picks; None where it refuses the expression."""
    lengths = np.array([len(packet) for packet in packets], np.int64)
    try:
        code = Filter(expression).program(link_type)
    except UsageError:
        return None
    keep = filter_run(
        code,
        np.zeros(1, np.uint32),
        np.frombuffer(b"".join(packets), np.uint8),
        np.cumsum(lengths) - lengths,
        lengths.astype(np.uint32),
        np.array([original_of(number, packet) for number, packet in enumerate(packets)], np.uint32),
        np.zeros(len(packets), np.int32),
    )
    return set(np.flatnonzero(keep).tolist())


def differences(
    program: str, folder: Path, link_type: int, expressions: list[str], *options: str, damaged: bool = True
) -> tuple[list[object], int]:
    """The expressions for which etwcap and tcpdump pick different packets, and how many tcpdump did not refuse."""
    packets = packets_of(link_type, damaged=damaged)
    path = folder / "all.pcap"
    write_capture(path, link_type, packets)
    wrong: list[object] = []
    compared = 0
    for expression in expressions:
        theirs, refused_too_often = picked_by_tcpdump(program, path, expression, *options)
        if refused_too_often:
            continue
        mine = ours(expression, link_type, packets)
        compared += theirs is not None
        if theirs != mine:
            wrong.append((expression, theirs, mine))
    return wrong, compared


@pytest.mark.parametrize("link_type", LINK_TYPES)
def test_picks_the_packets_that_tcpdump_picks(link_type: int, tmp_path: Path) -> None:
    random = Expressions(link_type)
    expressions = HAND_WRITTEN + [random.expression() for _ in range(50)] + [random.primitive() for _ in range(30)]
    if link_type in WIFI:
        expressions = [f"({ANY_IP}) and ({expression})" for expression in expressions]
    wrong, compared = differences(tool_path("tcpdump"), tmp_path, link_type, expressions, "-O")
    assert wrong == []
    assert compared >= (10 if link_type == UPPER_PDU else 70)


@pytest.mark.parametrize("link_type", [1, 101, 105, 127])
def test_picks_the_packets_that_tcpdump_picks_with_its_optimiser(link_type: int, tmp_path: Path) -> None:
    expressions = [each for each in HAND_WRITTEN if each not in CUT_SHORT]
    wrong, compared = differences(tool_path("tcpdump"), tmp_path, link_type, expressions, damaged=False)
    assert wrong == []
    assert compared > 20
