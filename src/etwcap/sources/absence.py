"""Why a trace has no packets, and the Windows command that would have captured some."""

from __future__ import annotations

from dataclasses import dataclass

from etwcap.providers.base import PacketProvider
from etwcap.sources.capfile import CaptureFileSource
from etwcap.sources.etl import EtlSource

PKTMON_COMMAND = r"pktmon start --capture --pkt-size 0 --file-name C:\trace.etl    (and at the end: pktmon stop)"
NETSH_COMMAND = r"netsh trace start capture=yes tracefile=C:\trace.etl    (and at the end: netsh trace stop)"


@dataclass(frozen=True, slots=True)
class Absence:
    """Why there are no packets."""

    category: str
    """stable name for machines: header-only, no-provider, no-packets, rundown-only, not-decoded, empty"""
    reason: str
    hint: str


def why_no_packets(source: EtlSource | CaptureFileSource) -> Absence:
    """The reason, once the source has been read to its end without a packet."""
    if isinstance(source, CaptureFileSource):
        return Absence("empty", "the capture file has no packet blocks", "check the capture's filter and interface")
    session = source.describe().session
    if session is not None and session.buffers <= 1:
        why = "the file has only its header buffer: " + (
            "the session was never closed, its events never reached the file"
            if source.describe().losses.unclosed
            else "no event was logged"
        )
        return Absence("header-only", why, f"stop the session before copying the file; capture with: {PKTMON_COMMAND}")
    present = [provider for provider in source.providers if _seen(source, provider)]
    if not present:
        return Absence(
            "no-provider",
            "no packet provider (PktMon, NDIS-PacketCapture) was traced in this session",
            f"capture with: {PKTMON_COMMAND}",
        )
    taps = {provider.tap for provider in present}
    if "pktmon" in taps:
        return Absence(
            "rundown-only",
            "PktMon wrote its components and counters, but no packet: only counters were on, or no packet matched the filters",
            f"capture packets with: {PKTMON_COMMAND}",
        )
    return Absence(
        "no-packets",
        "the capture driver logged its state, but no packet that etwcap decodes",
        f"capture with: {NETSH_COMMAND}",
    )


def _seen(source: EtlSource, provider: PacketProvider) -> bool:
    return source.providers_seen[source.providers.index(provider)]
