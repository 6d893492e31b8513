"""Packets of PktMon by its documented API: a session of our own beside everybody else's, without a trace session.

What reaches the ring are the records that the driver would have written; what the driver would have told of its
components is made from what the API tells of its data sources.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from ipaddress import ip_address
from typing import Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from etwcap.errors import NotHereError, UsageError, WindowsCallError
from etwcap.etl.build import event_record
from etwcap.filters.split import Constraints
from etwcap.native.pktmon_stream import StreamCounts, StreamReceiver
from etwcap.native.ring import Ring
from etwcap.providers import pktmon_build as build
from etwcap.providers.pktmon_layout import ComponentType, EventId, Property
from etwcap.taps.pktmon_capture import PROVIDER, change_name
from etwcap.taps.pktmon_choice import ALL, NICS
from etwcap.taps.pktmon_filters import protocol_constraint
from etwcap.taps.protocol import TapLosses
from etwcap.taps.raw_sockets import choose_adapters
from etwcap.windows import pktmon_api
from etwcap.windows.adapters import WIFI, Adapter
from etwcap.windows.clock import FILETIME_OF_1970
from etwcap.windows.failure import message
from etwcap.windows.pktmon_api import DataSource, PktMonApi
from etwcap.windows.processes import ProcessIdentity

RESOLUTION: Final = 15_625_000
"""ns: how far apart stamps may lie, the longest tick of Windows"""
SETTLE: Final = 10_000_000
"""100 ns: packets come in the order of their processors' buffers; so long after its time each is expected at most"""
_KEYWORD: Final = 0x2
_IP_LAYER: Final = "L3/L4"
"""how the descriptions of TCP/IP's interfaces end, which report drops and nothing else"""
_ADAPTER_EXTENSION: Final = "netadaptercx.sys"
_TYPES: Final = {
    pktmon_api.NETWORK_INTERFACE: ComponentType.MINIPORT,
    pktmon_api.FILTER_DRIVER: ComponentType.FILTER,
    pktmon_api.PROTOCOL: ComponentType.PROTOCOL,
    pktmon_api.APP_PROTOCOL: ComponentType.HTTP,
    pktmon_api.VIRTUAL_SWITCH: ComponentType.VMS_EXT_MINIPORT,
}
_EDGES: Final = {
    ComponentType.MINIPORT: {1: "Upper"},
    ComponentType.NETCX: {1: "Lower"},
    ComponentType.FILTER: {1: "Upper", 2: "Lower"},
    ComponentType.PROTOCOL: {1: "Lower"},
    ComponentType.HTTP: {1: "Lower", 2: "Upper"},
}
"""as the driver names them in its rundown"""


class FileTimeClock:
    """Stamps of the API as time: FILETIME, 100 ns since 1601 UTC (protocol ``TickClock``)."""

    def to_ns(self, ticks: NDArray[np.int64]) -> NDArray[np.int64]:
        """ns since 1970 UTC."""
        times: NDArray[np.int64] = (ticks - FILETIME_OF_1970) * 100
        return times


def file_time() -> int:
    """Now, as the API stamps."""
    return FILETIME_OF_1970 + time.time_ns() // 100


class StreamFeed:
    """A stream of the API in a ring (protocol ``RecordFeed``).

    Captures from the start: ``wanted`` gives the data sources, ``constraints`` what they are to let through. ``now`` is
    for tests. Raises WindowsCallError and what the API's calls raise; then nothing is left open.
    """

    def __init__(
        self,
        api: PktMonApi,
        identity: ProcessIdentity,
        wanted: Callable[[PktMonApi, int], Sequence[DataSource]],
        *,
        ring: int,
        constraints: Callable[[Sequence[DataSource]], Constraints] = lambda _sources: (),
        now: Callable[[], int] = file_time,
        note: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self._api = api
        self._now = now
        self._note = note
        self._failed = False
        self._active = False
        self._stream = 0
        with ExitStack() as undo:
            self.ring = Ring(ring)
            undo.callback(self.ring.close)
            self._receiver = undo.enter_context(StreamReceiver(self.ring))
            handle = api.initialize()
            undo.callback(api.uninitialize, handle)
            self._session = api.create_session(handle, change_name(identity, "pktmon"))
            undo.callback(api.close_session, self._session)
            sources = wanted(api, handle)
            self._add(sources)
            for number, each in enumerate(constraints(sources), 1):
                api.add_constraint(self._session, protocol_constraint(each, change_name(identity, str(number))))
            self._stream = api.create_stream(
                handle,
                context=self._receiver.context,
                event=self._receiver.event_callback,
                data=self._receiver.data_callback,
            )
            undo.callback(self._end)
            api.attach(self._session, self._stream)
            api.set_active(self._session, True)
            self._active = True
            self._undo = undo.pop_all()

    def tend(self) -> int | None:
        """A second ago; and the end of the ring where the stream has failed."""
        counts = self._receiver.counts()
        if counts.fatal and not self._failed:
            self._failed = True
            self._note(f"the stream of PktMon failed: {message(counts.reason)}")
            self._receiver.end()
        return self._now() - SETTLE

    def stop(self) -> bool:
        """End the stream; what it has delivered is in the ring."""
        self._end()
        return True

    def losses(self) -> TapLosses:
        """What the stream missed, cut, or could not deliver."""
        counts = self._receiver.counts()
        return TapLosses(failed=counts.malformed + counts.warnings, cut=counts.cut, mechanism=counts.missed)

    def counts(self) -> StreamCounts:
        """What came so far."""
        return self._receiver.counts()

    def close(self) -> None:
        """Release everything; safe twice."""
        undo, self._undo = self._undo, ExitStack()
        undo.close()

    def _add(self, sources: Sequence[DataSource]) -> None:
        """Add the data sources; one that is no adapter may be refused, as long as something is left."""
        refused: list[WindowsCallError] = []
        for source in sources:
            try:
                self._api.add_source(self._session, source)
            except WindowsCallError as error:
                if source.kind == pktmon_api.NETWORK_INTERFACE:
                    raise
                refused.append(error)
        if refused:
            if len(refused) == len(sources):
                raise refused[0]
            self._note(f"PktMon refused components, which report nothing: {len(refused)} ({refused[0]})")

    def _end(self) -> None:
        """Stop the session and the stream, and end the ring; safe twice."""
        stream, self._stream = self._stream, 0
        active, self._active = self._active, False
        with ExitStack() as after:
            after.callback(self._receiver.end)
            if stream:
                after.callback(self._api.close_stream, stream)
            if active:
                self._api.set_active(self._session, False)


def choose_sources(
    offered: Sequence[DataSource], components: str, interfaces: Sequence[str], adapters: Sequence[Adapter]
) -> list[DataSource]:
    """The data sources that ``--components`` and ``-i`` want; raises UsageError for what there is not,
    NotHereError where no adapter is."""
    adapter = adapters_of(offered, adapters)
    if components not in (ALL, NICS):
        ids = [int(each) for each in components.split(",")]
        unknown = [each for each in ids if each not in {source.id for source in offered}]
        if unknown:
            raise UsageError(f"PktMon has no component {unknown[0]}", cause=f"there are: {_listed(offered)}")
        return [each for each in offered if each.id in ids]
    if interfaces:
        named = choose_adapters(adapters, interfaces)
        of_these = {id(each) for each in named}
        found = [each for each in offered if each.id in adapter and id(adapter[each.id]) in of_these]
        if not found:
            nics = [each for each in offered if each.kind == pktmon_api.NETWORK_INTERFACE]
            raise UsageError(
                "PktMon does not see that interface", cause=f"-i {', '.join(interfaces)}; it sees: {_listed(nics)}"
            )
        if components == NICS:
            return found
        ids = [each.id for each in found]
        return found + [each for each in offered if each.parent_id in ids and each not in found]
    if components == ALL:
        return list(offered)
    nics = [each for each in offered if each.kind == pktmon_api.NETWORK_INTERFACE]
    if not nics:
        raise NotHereError("PktMon's API lists no network adapter", hint="--components all takes what there is")
    return nics + [each for each in offered if each.description.endswith(_IP_LAYER) and each not in nics]


def adapters_of(sources: Sequence[DataSource], adapters: Sequence[Adapter]) -> dict[int, Adapter]:
    """The adapter of each network interface among the sources, by component id: by GUID, MAC address, description."""
    nics = [each for each in sources if each.kind == pktmon_api.NETWORK_INTERFACE]
    found = {each.id: _adapter_of(each, adapters) for each in nics}
    return {number: adapter for number, adapter in found.items() if adapter is not None}


def _adapter_of(source: DataSource, adapters: Sequence[Adapter]) -> Adapter | None:
    guid = f"{{{UUID(bytes_le=source.guid)}}}".casefold() if source.guid else ""
    by_guid = [each for each in adapters if guid and each.guid.casefold() == guid]
    by_mac = [each for each in adapters if source.mac and each.mac == source.mac]
    by_name = [each for each in adapters if each.description and each.description == source.description]
    return next((found[0] for found in (by_guid, by_mac, by_name) if len(found) == 1), None)


def has_wifi(sources: Sequence[DataSource], adapters: Sequence[Adapter]) -> bool:
    """Whether frames of a Wi-Fi may be among what these report: also where it cannot be told."""
    known = adapters_of(sources, adapters)
    nics = [each for each in sources if each.kind == pktmon_api.NETWORK_INTERFACE]
    return any(each.id not in known or known[each.id].kind == WIFI for each in nics)


def rundown(sources: Sequence[DataSource], adapters: Sequence[Adapter], stamp: int) -> list[bytes]:
    """What the driver would have told of its components, as records with that stamp (FILETIME)."""
    index = {each: adapter.index or adapter.index6 for each, adapter in adapters_of(sources, adapters).items()}
    extended = {index[each.id] for each in sources if each.id in index and each.name.casefold() == _ADAPTER_EXTENSION}
    events: list[tuple[int, bytes]] = []
    for source in sources:
        kind = _type(source, index.get(source.id, 0) in extended)
        events.append(
            (EventId.COMPONENT, build.build_component(source.id & 0xFFFF, kind, source.name, source.description))
        )
        events += _properties(source, kind, index)
        for edge, name in _EDGES.get(kind, {}).items():
            events.append((EventId.FLOW_COUNTERS, build.build_flow_counters(source.id & 0xFFFF, edge, name)))
    return [event_record(PROVIDER, event, payload, time=stamp, keyword=_KEYWORD) for event, payload in events]


def _type(source: DataSource, extended: bool) -> ComponentType:
    """A component's type; ``extended``: its adapter has a miniport of Windows' own above the vendor's driver."""
    if source.description.endswith(_IP_LAYER):
        return ComponentType.IP_INTERFACE
    kind = _TYPES.get(source.kind, ComponentType.UNKNOWN)
    if kind == ComponentType.MINIPORT and extended and source.name.casefold() != _ADAPTER_EXTENSION:
        return ComponentType.NETCX
    return kind


def _properties(source: DataSource, kind: ComponentType, index: dict[int, int]) -> list[tuple[int, bytes]]:
    identity = source.id & 0xFFFF
    events: list[tuple[int, bytes]] = []
    if source.mac:
        events.append((EventId.PROPERTY_PHYS_ADDRESS, build.build_phys_address(identity, source.mac)))
    if source.guid:
        events.append((EventId.PROPERTY_GUID, build.build_guid(identity, UUID(bytes_le=source.guid))))
    if source.address:
        address = ip_address(source.address)
        event = EventId.PROPERTY_IPV4 if address.version == 4 else EventId.PROPERTY_IPV6
        events.append((event, build.build_ip_address(identity, address)))
    for place, of in (
        (Property.IF_INDEX, source.id),
        (Property.IP_IF_INDEX if kind == ComponentType.IP_INTERFACE else Property.MINIPORT_IF_INDEX, source.parent_id),
    ):
        if index.get(of):
            events.append((EventId.PROPERTY_U32, build.build_property(identity, place, index[of])))
            break
    return events


def _listed(sources: Sequence[DataSource]) -> str:
    return ", ".join(f"{each.id} ({each.description or each.name})" for each in sources[:40]) or "none"
