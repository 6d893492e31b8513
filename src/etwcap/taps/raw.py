"""The raw tap: raw sockets with SIO_RCVALL, one per interface and family.

Sees IPv4 packets with their headers and IPv6 packets without, sent and received; no link layer, no ARP.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from etwcap.errors import EtwcapError, NotHereError
from etwcap.native.loader import library
from etwcap.packets import Context, Description
from etwcap.pipeline.protocols import Stage
from etwcap.pipeline.recording import raw_socket_stages
from etwcap.repair.ipv6_header import Ipv6HeaderStage
from etwcap.repair.names import IPV6, ORDER, RECORDED_ORDER
from etwcap.taps.conditions import description_of, native_core, not_windows, rights
from etwcap.taps.protocol import Changes, Condition, LiveTapSource, State, TapOptions
from etwcap.taps.raw_feeder import RawFeeder
from etwcap.taps.raw_sockets import SocketKinds
from etwcap.taps.raw_source import RawRecordSource, RecordsToPackets
from etwcap.taps.several import LiveStaged
from etwcap.windows.adapters import Adapter, adapters
from etwcap.windows.clock import Clock, Counter
from etwcap.windows.firewall import Firewall
from etwcap.windows.processes import Processes
from etwcap.windows.tokens import Tokens
from etwcap.windows.version import WindowsVersion, this_windows

WINDOWS_7: Final = (6, 1)
"""since then packets that are sent are seen too (Microsoft's page of SIO_RCVALL)"""


class RawTap:
    """Raw sockets (protocol ``Tap``). The arguments are for tests: another Windows, other kinds of sockets."""

    name = "raw"
    sees = "IPv4 and IPv6 packets of each interface and the loopback; IPv6 headers are rebuilt, times are coarse"

    def __init__(
        self,
        *,
        version: Callable[[], WindowsVersion] = this_windows,
        elevated: Callable[[], bool] | None = None,
        list_adapters: Callable[[], list[Adapter]] | None = None,
        firewall: Firewall | None = None,
        program: Callable[[], str] | None = None,
        kinds: SocketKinds | None = None,
    ) -> None:
        self._version = version
        self._elevated = elevated or (lambda: Tokens().elevated())
        self._list_adapters = list_adapters or adapters
        self._firewall = firewall or Firewall()
        self._program = program or (lambda: Processes().own_image())
        self._kinds = kinds or SocketKinds()

    def available(self) -> list[Condition]:
        """Windows, the native core, rights, an address to listen on, and a firewall rule for what comes in."""
        try:
            version = self._version()
        except NotHereError as error:
            return not_windows(error)
        return [
            self._windows(version),
            native_core(library() is not None),
            rights(self._elevated, "raw sockets are"),
            self._addresses(),
            self._inbound(),
        ]

    def interrupts(self, interfaces: Sequence[str], options: TapOptions) -> str:
        """Nothing."""
        return ""

    def open(
        self, context: Context, interfaces: Sequence[str], options: TapOptions, changes: Changes | None = None
    ) -> LiveTapSource:
        """Begin to capture; see ``Tap.open``."""
        version = self._version()
        counter = Counter()
        clock = Clock()
        start = counter.utc()
        description = description_of(version, frequency=counter.frequency())
        stages = [] if options.records else self.stages(context, description, options)
        feeder = RawFeeder(context, interfaces, options, self._kinds, frequency=counter.frequency())
        records = RawRecordSource(feeder, clock, context, description, start=start)
        return LiveStaged(records, stages) if stages else records

    def stages(self, context: Context, description: Description, options: TapOptions) -> list[Stage]:
        """Records to packets, their IPv6 headers and directions (order is for all taps together); nothing for a
        recording."""
        if options.raw_recording:
            return []
        header = Ipv6HeaderStage(context, infer=IPV6 in options.repairs, comments=options.comments)
        return [
            RecordsToPackets(context, description),
            *raw_socket_stages(context, options.repairs - {ORDER, RECORDED_ORDER}, header),
        ]

    def _windows(self, version: WindowsVersion) -> Condition:
        if (version.major, version.minor) < WINDOWS_7:
            why = f"{version}: before Windows 7 only received packets are seen"
            return Condition("windows", State.MISSING, why, "capture on a newer Windows")
        if version.wine:
            return Condition("windows", State.MISSING, f"{version}: Wine has no SIO_RCVALL", "capture on Windows")
        return Condition("windows", State.MET, f"{version}: sent and received packets, IPv6 without its headers")

    def _addresses(self) -> Condition:
        try:
            known = self._list_adapters()
        except EtwcapError as error:
            return Condition("addresses", State.UNKNOWN, f"the adapters cannot be listed: {error}")
        usable = [each.alias for each in known if each.up and not each.loopback and each.addresses]
        if usable:
            return Condition("addresses", State.MET, f"listens on {', '.join(usable)}")
        why = "no adapter that is up has an IP address; -i loopback works all the same"
        return Condition("addresses", State.MISSING, why, "ipconfig /renew", needed=False)

    def _inbound(self) -> Condition:
        why = "without a firewall rule for {} only sent packets are seen; a capture adds one and removes it at the end"
        try:
            program = self._program()
            rules = self._firewall.rules()
        except EtwcapError as error:
            return Condition("firewall", State.UNKNOWN, f"the firewall's rules cannot be read: {error}", needed=False)
        if any(each.program.casefold() == program.casefold() for each in rules):
            return Condition("firewall", State.MET, f"a rule lets packets in for {program}", needed=False)
        mend = (
            "netsh advfirewall firewall add rule name=etwcap dir=in action=allow"
            f' program="{program}" enable=yes profile=any'
        )
        return Condition("firewall", State.MISSING, why.format(program), mend, needed=False)
