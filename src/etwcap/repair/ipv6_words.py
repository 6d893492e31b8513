"""What speaks for a rebuilt IPv6 header, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from etwcap.native.ipv6_rebuild import How, To
from etwcap.providers.rawsocket_layout import Present

NAMES: Final = {
    1: "ICMP", 4: "IPv4", 6: "TCP", 17: "UDP", 33: "DCCP", 41: "IPv6", 44: "fragment", 46: "RSVP", 47: "GRE", 50: "ESP",
    58: "ICMPv6", 59: "nothing", 88: "EIGRP", 89: "OSPF", 97: "EtherIP", 103: "PIM", 108: "IPComp", 112: "VRRP",
    115: "L2TPv3", 132: "SCTP", 136: "UDP-Lite", 137: "MPLS", 143: "Ethernet",
}  # fmt: skip
"""Protocols that the rebuilder knows."""

_HOW: Final[Mapping[int, str]] = {
    How.SHAPE: "by its fields",
    How.CHECKSUM: "by checksum",
    How.OFFLOADED: "by checksum (offloaded)",
    How.OFFLOADED_LARGE: "by checksum (offloaded, large send)",
    How.OWN_SUM: "by its own checksum",
    How.FLOW: "by its other fragments",
    How.EMPTY: "since no bytes follow",
    How.SERIES: "by its series of numbers",
}

_TO: Final[Mapping[int, str]] = {
    To.UNKNOWN: "destination not known",
    To.TOLD: "destination told by the socket",
    To.FLOW_SUM: "destination by flow and checksum",
    To.KIND_SUM: "destination by kind of message and checksum",
    To.ONLY_SUM: "destination by checksum among {} candidates",
    To.CONTEXT_SUM: "destination by checksum and context among {} candidates",
    To.FLOW: "destination by flow, no checksum",
    To.KIND: "destination by kind of message, no checksum",
    To.JOINED: "destination by checksum of the joined fragments",
    To.ANSWERED: "destination by packets of the other direction, no checksum",
    To.SOLE: "destination the only address at the other end",
    To.SEVERAL: "destination not known, several candidates fit",
}


def comment(evidence: int, candidates: int, present: Present) -> str:
    """One line on the header: evidence as ``Knowledge.rebuild`` gives it, how many addresses were known, and what the
    socket told."""
    protocol, how, to = evidence & 255, How(evidence >> 8 & 255), To(evidence >> 16 & 255)
    first = "protocol not known" if how == How.UNKNOWN else f"{NAMES.get(protocol, protocol)} {_HOW[how]}"
    parts = [f"{first}, {_TO[to].format(candidates)}"]
    missing = [
        word
        for bit, word in ((Present.HOP_LIMIT, "hop limit"), (Present.TRAFFIC_CLASS, "traffic class"))
        if not present & bit
    ]
    if missing:
        parts.append(f"{' and '.join(missing)} not known")
    return "IPv6 header rebuilt: " + "; ".join(parts)


def rules(evidence: NDArray[np.uint32]) -> Iterator[tuple[str, str, int]]:
    """(kind, text, count) of each rule that told a Next Header or a destination, for the receipt."""
    for shift, part, texts in ((8, "protocol", _HOW), (16, "destination", _TO)):
        codes, counts = np.unique(evidence >> shift & 255, return_counts=True)
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
            text = texts.get(code)
            if text is not None and code not in (To.UNKNOWN, To.SEVERAL):
                rule = (How if part == "protocol" else To)(code).name.lower().replace("_", "-")
                words = f"protocol {text}" if part == "protocol" else text.replace(" {} ", " the ")
                yield f"ipv6-{part}-{rule}", f"rebuilt IPv6 headers with {words}", count
