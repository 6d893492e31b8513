"""Rebuilding IPv6 headers with 1,000 candidate addresses, beside the plain published method."""

from __future__ import annotations

import importlib.util
import random
import statistics
import struct
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etwcap.native.ipv6_rebuild import Knowledge, Mode, Role
from etwcap.providers.rawsocket_layout import RAW_RECORD
from etwcap.repair.ipv6_groups import GROUPS, SERVICES

CANDIDATES = 1000
PACKETS = 1_000_000

_SIZES = (20, 20, 20, 60, 120, 200, 500, 1300, 1400, 1420)
"""bytes behind the IPv6 header; the mean is that of ordinary traffic"""


def _sum(data: bytes) -> int:
    return int.from_bytes(data + b"\0" * (len(data) % 2), "big") % 0xFFFF


def packets(count: int) -> tuple[list[bytes], list[tuple[bytes, bytes]], list[int]]:
    """Candidates; (source, data) of TCP and UDP packets between them in 300 flows, checksums filled in; protocols."""
    chance = random.Random(1)
    hosts = [b"\x20\x01\x0d\xb8" + chance.randbytes(12) for _ in range(CANDIDATES)]
    pairs = [chance.sample(hosts, 2) for _ in range(300)]
    flows = [(here, there, chance.randrange(1024, 65536), chance.randrange(6) > 0) for here, there in pairs]
    made, protocols = [], []
    for number in range(count):
        here, there, port, is_tcp = flows[chance.randrange(len(flows))]
        body = chance.randbytes(max(chance.choice(_SIZES) - 20, 0))
        if is_tcp:
            head = struct.pack(">HHIIBBHHH", port, 443, number * 1000, 77, 0x50, 0x18, 512, 0, 0)
            at, protocol = 16, 6
        else:
            head = struct.pack(">HHHH", port, 443, 8 + len(body), 0)
            at, protocol = 6, 17
        total = _sum(here) + _sum(there) + len(head) + len(body) + protocol + _sum(head) + _sum(body)
        filled = 0xFFFF - total % 0xFFFF
        protocols.append(protocol)
        made.append((here, head[:at] + filled.to_bytes(2, "big") + head[at + 2 :] + body))
    return hosts, made, protocols


class Records:
    """Records of raw sockets in one buffer, as a recording holds them."""

    def __init__(self, made: list[tuple[bytes, bytes]]) -> None:
        parts, at = [], 0
        self.record: NDArray[np.int64] = np.zeros(len(made), np.int64)
        for row, (source, data) in enumerate(made):
            head = np.zeros(1, RAW_RECORD)
            head["source"] = np.frombuffer(source, np.uint8)
            parts += [head.tobytes(), data]
            self.record[row] = at
            at += RAW_RECORD.itemsize + len(data)
        self.buffer = np.frombuffer(b"".join(parts), np.uint8).copy()
        self.captured = np.array([len(data) for _, data in made], np.uint32)


def knowledge_of(hosts: list[bytes]) -> Knowledge:
    """With these candidates and the well-known groups."""
    knowledge = Knowledge(SERVICES)
    knowledge.add(GROUPS, Role.WELL_KNOWN)
    knowledge.add(np.frombuffer(b"".join(hosts), np.uint8), Role.LISTED)
    return knowledge


def rate_of_rebuild(hosts: list[bytes], records: Records, rounds: int) -> tuple[float, Any]:
    """Packets a second, the median of so many rounds over all of them; and the last evidence."""
    knowledge = knowledge_of(hosts)
    rates, evidence = [], np.zeros(0, np.uint32)
    for _ in range(rounds + 1):
        begun = time.process_time()
        evidence = knowledge.rebuild(
            records.buffer, records.record, records.record + RAW_RECORD.itemsize, records.captured, records.captured,
            Mode.WRITE | Mode.INFER | Mode.JOIN,
        )  # fmt: skip
        rates.append(len(records.record) / (time.process_time() - begun))
    return statistics.median(rates[1:]), evidence


def baseline() -> Any:
    """The plain method, which lies with the tests."""
    path = Path(__file__).parents[1] / "tests" / "ipv6_baseline.py"
    spec = importlib.util.spec_from_file_location("ipv6_baseline", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Baseline


def main() -> None:
    """``python -m benchmarks.rebuild [COUNT]``: packets a CPU second, of the plain method too, bytes a packet, share of
    protocols told right."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else PACKETS
    kinds = min(count, 20_000)
    hosts, made, kinds_of = packets(kinds)
    whole = Records(made)
    rate, evidence = rate_of_rebuild(hosts, whole, max(count // kinds, 1))
    right = sum((int(code) & 255) == kind for code, kind in zip(evidence, kinds_of, strict=True))
    method = baseline()(hosts)
    few = made[:300]
    begun = time.process_time()
    for source, data in few:
        method.tell(source, data)
    plain = len(few) / (time.process_time() - begun)
    print(f"{rate:.0f} {plain:.0f} {whole.captured.mean():.0f} {right / len(made):.5f}")


if __name__ == "__main__":
    main()
