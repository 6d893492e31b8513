"""Traffic with a known answer: packets that a self-test sends and recognises.

Over the loopback the machine talks to itself, by datagrams and a TCP connection. Through each adapter datagrams go to
an address that nobody has (RFC 5737, RFC 3849), so that they are seen as they leave. Each carries a mark that nothing
else has. What a tap is known not to see is sent all the same: seeing it would be news, and not seeing it is right.
"""

from __future__ import annotations

import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final, NamedTuple

from etwcap.packets import Chunk, Context, linktypes

DATAGRAMS: Final = 20
SEGMENTS: Final = 5
NOWHERE: Final = {4: "192.0.2.1", 6: "2001:db8::1"}
"""addresses for documentation: nobody answers there"""
DISCARD: Final = 9
"""port"""
_SNAP: Final = b"\xaa\xaa\x03\0\0\0"
"""LLC and SNAP before the EtherType of a Wi-Fi frame"""
_MARK: Final = 16
_UDP, _TCP = 17, 6


class Sees(NamedTuple):
    """What a tap is known to see."""

    loopback: bool
    adapters: bool = True


@dataclass(slots=True)
class Probe:
    """What was sent from one address with one protocol, and what the tap saw of it."""

    address: str
    protocol: str
    target: str
    sent: int = 0
    seen: int = 0
    """of these, at least once"""
    sightings: int = 0
    """all together: a packet to the machine itself may be seen when it is sent and when it is received"""
    right: int = 0
    """sightings with the right protocol, source and destination"""
    destination_unknown: int = 0
    bytes_differ: int = 0
    """sightings whose payload is not what was sent"""
    earliest_us: float | None = None
    """from the moment of sending to the stamp, in us: the smallest and the largest"""
    latest_us: float | None = None
    expected: bool = True
    """False: the tap is known not to see it"""
    error: str = ""
    """why it could not be sent"""

    def line(self) -> str:
        """For people."""
        what = f"{self.protocol} from {self.address} to {self.target}"
        if self.error:
            return f"{what}: {self.error}"
        if not self.expected and not self.seen:
            return f"{what}: {self.sent} sent, none seen, as is known of this tap"
        text = f"{what}: {self.seen} of {self.sent} seen, {self.sightings} sightings, {self.right} right"
        if self.destination_unknown:
            text += f", {self.destination_unknown} without destination"
        if self.bytes_differ:
            text += f", {self.bytes_differ} with other bytes"
        if self.earliest_us is not None:
            text += f"; stamped {self.earliest_us:,.0f} to {self.latest_us:,.0f} us after sending"
        return text


@dataclass(slots=True)
class _Sent:
    """One thing that was sent."""

    probe: Probe
    payload: bytes
    protocol: int
    ports: tuple[int, int]
    before: int
    """ns since 1970 UTC"""
    sightings: int = 0


class Traffic:
    """Sends, and recognises what it sent."""

    def __init__(self, inner: Sequence[str], outer: Sequence[str], sees: Sees) -> None:
        self._sees = sees
        self.probes: list[Probe] = []
        self._inner, self._outer = list(inner), list(outer)
        self._sent: dict[bytes, _Sent] = {}
        self._prefix = b"etwcap" + secrets.token_bytes(4)
        self._lock = threading.Lock()

    def send(self) -> None:
        """Everything, to each address; what cannot be sent is noted."""
        for address in self._inner:
            self._try(Probe(address, "UDP", address, expected=self._sees.loopback), self._datagrams)
            self._try(Probe(address, "TCP", address, expected=self._sees.loopback), self._connection)
        for address in self._outer:
            nobody = NOWHERE[ip_address(address).version]
            self._try(Probe(address, "UDP", nobody, expected=self._sees.adapters), self._outward)

    def _try(self, probe: Probe, send: Callable[[str, Probe], None]) -> None:
        self.probes.append(probe)
        try:
            send(probe.address, probe)
        except OSError as error:
            probe.error = f"cannot be sent: {error}"

    def _note(self, probe: Probe, protocol: int, ports: tuple[int, int]) -> bytes:
        with self._lock:
            mark = self._prefix + struct.pack(">HI", 0, len(self._sent))
            payload = mark + bytes((len(self._sent) + each) & 0xFF for each in range(37))
            self._sent[mark] = _Sent(probe, payload, protocol, ports, time.time_ns())
            probe.sent += 1
        return payload

    def _datagrams(self, address: str, probe: Probe) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as receiver, socket.socket(family, socket.SOCK_DGRAM) as sender:
            receiver.bind((address, 0))
            sender.bind((address, 0))
            receiver.settimeout(1)
            ports = (sender.getsockname()[1], receiver.getsockname()[1])
            for _ in range(DATAGRAMS):
                sender.sendto(self._note(probe, _UDP, ports), receiver.getsockname())
                receiver.recv(100)

    def _outward(self, address: str, probe: Probe) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            sender.bind((address, 0))
            for _ in range(DATAGRAMS):
                sender.sendto(self._note(probe, _UDP, (sender.getsockname()[1], DISCARD)), (probe.target, DISCARD))

    def _connection(self, address: str, probe: Probe) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.bind((address, 0))
            listener.listen(1)
            listener.settimeout(2)
            with socket.create_connection(listener.getsockname()[:2], timeout=2) as client:
                server, _ = listener.accept()
                with server:
                    server.settimeout(2)
                    ports = (client.getsockname()[1], listener.getsockname()[1])
                    for _ in range(SEGMENTS):
                        payload = self._note(probe, _TCP, ports)
                        client.sendall(payload)
                        got = b""
                        while len(got) < len(payload):
                            got += server.recv(len(payload) - len(got)) or b"\0" * len(payload)
                        server.sendall(b"+")
                        client.recv(1)

    def look(self, chunk: Chunk, context: Context) -> None:
        """Recognise packets of a chunk. One by one: a self-test makes few."""
        packets = chunk.packets
        columns = (packets[name].tolist() for name in ("time", "interface", "offset", "captured"))
        for stamp, interface, offset, captured in zip(*columns, strict=True):
            data = chunk.buffer[offset : offset + captured].tobytes()
            at = data.find(self._prefix)
            if at < 0:
                continue
            with self._lock:
                sent = self._sent.get(data[at : at + _MARK])
                if sent is not None:
                    self._judge(sent, data, at, stamp, context.interfaces[interface].link_type)

    def _judge(self, sent: _Sent, data: bytes, at: int, stamp: int, link_type: int) -> None:
        probe = sent.probe
        probe.seen += sent.sightings == 0
        sent.sightings += 1
        probe.sightings += 1
        probe.bytes_differ += data[at:] != sent.payload
        found = _ends(network(data, link_type))
        expected = (sent.protocol, ip_address(probe.address), ip_address(probe.target), *sent.ports)
        if found == expected:
            probe.right += 1
        elif found is not None and found[2].is_unspecified and found[:2] + found[3:] == expected[:2] + expected[3:]:
            probe.destination_unknown += 1
        late = (stamp - sent.before) / 1000
        probe.earliest_us = late if probe.earliest_us is None else min(probe.earliest_us, late)
        probe.latest_us = late if probe.latest_us is None else max(probe.latest_us, late)

    @property
    def all_seen(self) -> bool:
        """Whether everything that was sent was seen."""
        with self._lock:
            return all(sent.sightings for sent in self._sent.values() if sent.probe.expected)


def network(data: bytes, link_type: int) -> bytes:
    """A packet from its network header on."""
    if link_type == linktypes.ETHERNET:
        return data[18:] if data[12:14] == b"\x81\0" else data[14:]
    if link_type in (linktypes.IEEE802_11, linktypes.IEEE802_11_RADIOTAP):
        at = data.find(_SNAP)
        return data[at + len(_SNAP) + 2 :] if at >= 0 else b""
    return data


def _ends(data: bytes) -> tuple[int, Any, Any, int, int] | None:
    """(protocol, source, destination, source port, destination port) of an IP packet without extension headers."""
    if len(data) >= 24 and data[0] >> 4 == 4:
        start, protocol = (data[0] & 15) * 4, data[9]
        source, target = ip_address(data[12:16]), ip_address(data[16:20])
    elif len(data) >= 44 and data[0] >> 4 == 6:
        start, protocol = 40, data[6]
        source, target = ip_address(data[8:24]), ip_address(data[24:40])
    else:
        return None
    if len(data) < start + 4:
        return None
    return protocol, source, target, *struct.unpack_from(">HH", data, start)
