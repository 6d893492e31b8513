"""etwcap: network capture for Microsoft Windows, readable on any OS.

    >>> import etwcap
    >>> with etwcap.open("trace.etl") as trace:                 # doctest: +SKIP
    ...     for packet in trace:
    ...         print(packet.datetime, packet.direction, packet.interface.name, len(packet.data))
    >>> etwcap.convert(["trace.etl"], "trace.pcapng")           # doctest: +SKIP
    >>> etwcap.capture("live.pcapng")                           # doctest: +SKIP

Names are loaded when they are first used, so that importing etwcap costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from etwcap._version import __version__

if TYPE_CHECKING:
    from etwcap.errors import (
        EtwcapError,
        InputError,
        MixedLinkTypesError,
        NativeCoreError,
        NotATraceError,
        NotHereError,
        NothingToWriteError,
        OutputError,
        RightsError,
        UsageError,
    )
    from etwcap.packets import EventTable, Interface, Mark, PacketTable
    from etwcap.pipeline.capture import CaptureOptions
    from etwcap.pipeline.convert import ConvertOptions, Outcome, convert
    from etwcap.pipeline.trace import Event, Packet, Trace
    from etwcap.pipeline.trace import Trace as open  # noqa: N813 - etwcap.open, as gzip.open
    from etwcap.taps.capturing import LiveOptions, capture, capture_live

_HOMES = {
    "etwcap.errors": (
        "EtwcapError",
        "InputError",
        "MixedLinkTypesError",
        "NativeCoreError",
        "NotATraceError",
        "NotHereError",
        "NothingToWriteError",
        "OutputError",
        "RightsError",
        "UsageError",
    ),
    "etwcap.packets": ("EventTable", "Interface", "Mark", "PacketTable"),
    "etwcap.pipeline.capture": ("CaptureOptions",),
    "etwcap.pipeline.convert": ("ConvertOptions", "Outcome", "convert"),
    "etwcap.pipeline.trace": ("Event", "Packet", "Trace"),
    "etwcap.taps.capturing": ("LiveOptions", "capture", "capture_live"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names} | {"open": "etwcap.pipeline.trace"}

__all__ = [
    "CaptureOptions",
    "ConvertOptions",
    "EtwcapError",
    "Event",
    "EventTable",
    "InputError",
    "Interface",
    "LiveOptions",
    "Mark",
    "MixedLinkTypesError",
    "NativeCoreError",
    "NotATraceError",
    "NotHereError",
    "NothingToWriteError",
    "Outcome",
    "OutputError",
    "Packet",
    "PacketTable",
    "RightsError",
    "Trace",
    "UsageError",
    "__version__",
    "capture",
    "capture_live",
    "convert",
    "open",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'etwcap' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), "Trace" if name == "open" else name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
