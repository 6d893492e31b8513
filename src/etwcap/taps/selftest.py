"""A tap against traffic with a known answer: what was sent is compared with what the tap saw.

The report names no address but the machine's own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np

from etwcap._version import __version__
from etwcap.errors import EtwcapError
from etwcap.packets import Chunk, Context, linktypes
from etwcap.pipeline.capture import CaptureOptions
from etwcap.taps.capturing import Live, LiveOptions, capture_live
from etwcap.taps.listing import TapState
from etwcap.taps.selftest_traffic import Probe, Sees, Traffic

WAIT: Final = 2.0
"""s that packets have to come out of the tap, once all were sent"""

EXPECTED: Final = {"pktmon": Sees(loopback=False), "ndiscap": Sees(loopback=False)}
"""Taps that do not see everything."""
_ALL: Final = Sees(loopback=True)


@dataclass(slots=True)
class TapReport:
    """How one tap did."""

    tap: str
    state: dict[str, Any]
    expects: dict[str, bool] = field(default_factory=dict)
    """whether it is known to see the loopback and the adapters"""
    skipped: str = ""
    """why it was not tried"""
    opened_ms: float = 0.0
    ended_ms: float = 0.0
    packets: int = 0
    """all that it saw meanwhile"""
    interfaces: list[str] = field(default_factory=list)
    """names and link types of what it saw packets on"""
    losses: dict[str, Any] = field(default_factory=dict)
    probes: list[Probe] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    error: str = ""

    @property
    def good(self) -> bool:
        """Whether everything that was sent and can be seen was seen, and nothing of it was wrong."""
        sent = [probe for probe in self.probes if probe.sent and probe.expected]
        right = all(p.seen == p.sent and p.right + p.destination_unknown == p.sightings for p in sent)
        return not self.error and bool(sent) and right


@dataclass(slots=True)
class Report:
    """The whole self-test."""

    machine: dict[str, Any]
    taps: list[TapReport]

    @property
    def good(self) -> bool:
        """Whether every tap that was tried is good, and one was."""
        tried = [each for each in self.taps if not each.skipped]
        return bool(tried) and all(each.good for each in tried)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "etwcap": __version__,
            "machine": self.machine,
            "taps": [{**asdict(each), "good": each.good} for each in self.taps],
        }

    def lines(self) -> list[str]:
        """For people, and to send back."""
        lines = [f"etwcap {__version__} self-test: {', '.join(f'{k} {v}' for k, v in self.machine.items() if v)}"]
        for tap in self.taps:
            verdict = "not tried" if tap.skipped else "good" if tap.good else "see below"
            lines += ["", f"{tap.tap}: {verdict}"]
            lines += [f"  {line}" for line in tap.told]
            if tap.error or tap.skipped:
                lines.append(f"  {tap.error or tap.skipped}")
                continue
            lines.append(f"  opened in {tap.opened_ms:.0f} ms, ended in {tap.ended_ms:.0f} ms, {tap.packets:,} packets")
            lost = (f"{name} {'not known' if number is None else number}" for name, number in tap.losses.items())
            lines.append(f"  lost: {', '.join(lost)}")
            if tap.interfaces:
                lines.append(f"  packets on: {', '.join(tap.interfaces)}")
            lines += [f"  {probe.line()}" for probe in tap.probes]
            if not any(probe.sent and probe.expected for probe in tap.probes):
                lines.append("  nothing that it sees could be sent")
        return lines


def try_tap(
    state: TapState,
    inner: Sequence[str],
    outer: Sequence[str] = (),
    *,
    interfaces: Sequence[str] = (),
    firewall_rule: bool = True,
    consent: Callable[[str], bool] | None = None,
    open_live: Callable[..., Live] = capture_live,
    wait: float = WAIT,
) -> TapReport:
    """Capture with one tap while packets go over the ``inner`` addresses, and from the ``outer`` ones to nowhere; an
    error of the tap stands in the report. ``consent`` is asked before something interrupts the network."""
    sees = EXPECTED.get(state.name, _ALL)
    report = TapReport(state.name, state.as_dict(), sees._asdict())
    traffic = Traffic(inner, outer, sees)

    def look(chunk: Chunk, context: Context) -> None:
        report.packets += len(chunk.packets)
        for number in np.unique(chunk.packets["interface"]).tolist():
            seen = context.interfaces[number]
            name = f"{seen.name or 'unnamed'} ({linktypes.title(seen.link_type)})"
            if name not in report.interfaces:
                report.interfaces.append(name)
        traffic.look(chunk, context)

    options = LiveOptions((state.name,), tuple(interfaces), firewall_rule=firewall_rule, capture=CaptureOptions())
    begin = time.monotonic()
    try:
        live = open_live(look, options, tell=report.told.append, consent=consent)
        with live:
            report.opened_ms = (time.monotonic() - begin) * 1000
            sender = threading.Thread(target=_send, args=(traffic, live, wait), name="etwcap-selftest")
            sender.start()
            try:
                live.run()
            finally:
                sender.join()
            report.losses = live.losses()
            begin = time.monotonic()
        report.ended_ms = (time.monotonic() - begin) * 1000
    except EtwcapError as error:
        report.error = "; ".join(error.lines())
    report.probes = traffic.probes
    return report


def _send(traffic: Traffic, live: Live, wait: float) -> None:
    """Send, wait until everything was seen or the time is over, and end the capture."""
    try:
        traffic.send()
        end = time.monotonic() + wait
        while time.monotonic() < end and not traffic.all_seen:
            time.sleep(0.02)
        time.sleep(min(wait / 4, 0.3))  # second sightings
    finally:
        live.stop()
