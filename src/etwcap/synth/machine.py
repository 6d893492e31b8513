"""The made-up machine: its adapters, and the facts about itself that Windows leaves in a trace."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from etwcap.etl import build_facts, layout
from etwcap.packets import Interface
from etwcap.packets.linktypes import ETHERNET, IEEE802_11, RAW_IP

FIRST_PKTMON_BUILD = 17763
"""Windows 10 1809."""
FIRST_IF_INDEX = 6
IF_INDEX_STEP = 20
"""from one adapter to the next; the numbers between are its filter layers"""
COMPUTER_NAME = "SYNTH-PC"
MOST_ADAPTERS = 1000
_LONGEST_NAME, _MOST_ADDRESSES = 128, 16

_KINDS = {
    ETHERNET: ("Ethernet", "Made-up Gigabit Adapter", build_facts.IF_TYPE_ETHERNET, 14, 1_000_000_000),
    IEEE802_11: ("Wi-Fi", "Made-up Wireless 6 Adapter", build_facts.IF_TYPE_WIFI, 9, 866_700_000),
    RAW_IP: ("Cellular", "Made-up Mobile Broadband Adapter", 243, 8, 100_000_000),
}
"""By link type: alias, description, IF_TYPE of ipifcons.h (243: WWANPP), NDIS_PHYSICAL_MEDIUM, bit/s."""
FILTERS = (
    ("wfplwfs.sys", "WFP 802.3 MAC Layer LightWeight Filter"),
    ("pacer.sys", "QoS Packet Scheduler"),
    ("npcap.sys", "Npcap Packet Driver"),
    ("vwififlt.sys", "Virtual WiFi Filter Driver"),
)
"""Driver and title of the filter layers of every adapter, from the wire up; they repeat."""
_MEDIUM_LOOPBACK = 17
"""NDIS_MEDIUM of ntddndis.h."""
_LOG_FILES = {
    "pktmon": ("PktMon", "C:\\Traces\\PktMon.etl"),
    "ndiscap": ("NetTrace-SYNTH-PC-user", "C:\\Traces\\NetTrace.etl"),
    "vmswitch": ("NetTrace-SYNTH-PC-user", "C:\\Traces\\NetTrace.etl"),
    "wfp": ("WfpTrace", "C:\\Traces\\WfpTrace.etl"),
    "ras": ("NetTrace-SYNTH-PC-user", "C:\\Traces\\NetTrace.etl"),
}
_LABS = {
    7600: "7600.16385.amd64fre.win7_rtm.090713-1255",
    9200: "9200.16384.amd64fre.win8_rtm.120725-1247",
    9600: "9600.16384.amd64fre.winblue_rtm.130821-1623",
    19041: "19041.1.amd64fre.vb_release.191206-1406",
    20348: "20348.1.amd64fre.fe_release.210507-1500",
    22621: "22621.1.amd64fre.ni_release.220506-1250",
    26100: "26100.1.amd64fre.ge_release.240331-1435",
}


@dataclass(frozen=True, slots=True)
class Adapter:
    """A network adapter of the machine: one for each interface of the capture."""

    link_type: int
    """1 Ethernet, 101 raw IP, 105 802.11"""
    if_index: int
    alias: str
    description: str
    mac: bytes
    speed: int
    addresses: tuple[str, ...] = ()

    @property
    def guid(self) -> uuid.UUID:
        """Its interface GUID."""
        return uuid.UUID(int=0xE7C0_0000_0000_4000_8000_0000_0000_0000 + self.if_index)


def log_file(tap: str) -> tuple[str, str]:
    """Session name and file name that a tap's own tool uses."""
    return _LOG_FILES[tap]


def product(build: int) -> str:
    """The Windows of that build."""
    for first, name in ((22000, "Windows 11 Pro"), (10240, "Windows 10 Pro"), (9600, "Windows 8.1 Pro"),
                        (9200, "Windows 8 Pro")):  # fmt: skip
        if build >= first and build != 20348:
            return name
    return "Windows Server 2022 Standard" if build == 20348 else "Windows 7 Professional"


def adapter_of(number: int, interface: Interface, link_type: int, taken: Sequence[Adapter]) -> Adapter:
    """The adapter that stands for an interface of the capture, keeping its name, MAC, speed and addresses."""
    kind, description, _, _, speed = _KINDS[link_type]
    alike = sum(adapter.link_type == link_type for adapter in taken)
    alias = _short(interface.name) or (f"{kind} {alike + 1}" if alike else kind)
    return Adapter(
        link_type,
        FIRST_IF_INDEX + IF_INDEX_STEP * number,
        alias,
        _short(interface.description) or (f"{description} #{alike + 1}" if alike else description),
        interface.mac if len(interface.mac) == 6 else bytes([2, 0x5A, 0, 0, number >> 8 & 0xFF, number & 0xFF]),
        interface.speed if 0 < interface.speed < 2**63 else speed,
        (*(str(four.ip) for four in interface.ipv4), *(str(six.ip) for six in interface.ipv6))[:_MOST_ADDRESSES],
    )


def _short(text: str) -> str:
    """A name of a length that Windows has, too, without the NUL that would end it."""
    return text.replace("\0", "")[:_LONGEST_NAME]


def facts_at_start() -> Iterator[tuple[int, bytes]]:
    """(opcode, payload) of the SystemConfigEx events that merging puts first."""
    yield layout.SYSTEM_CONFIG_EX_SYSTEM_PATHS, build_facts.system_paths()
    yield layout.SYSTEM_CONFIG_EX_VOLUME_MAPPING, build_facts.volume_mapping()


def layer_title(number: int) -> str:
    """What the filter layer of that number is called; 0 is the lowest."""
    return FILTERS[number % len(FILTERS)][1]


def facts_at_end(adapters: Sequence[Adapter], build: int, layers: int) -> Iterator[tuple[int, bytes]]:
    """(opcode, payload) of the SystemConfigEx events that merging adds: adapters, each with so many filter ``layers``,
    the build, the device family."""
    yield (
        layout.SYSTEM_CONFIG_EX_NETWORK_INTERFACE,
        build_facts.network_interface(
            1, "Loopback Pseudo-Interface 1", "Software Loopback Interface 1", if_type=24, physical_medium=0,
            is_hardware=False, media_type=_MEDIUM_LOOPBACK,
        ),
    )  # fmt: skip
    for adapter in adapters:
        for layer in range(layers + 1):
            yield layout.SYSTEM_CONFIG_EX_NETWORK_INTERFACE, _card(adapter, layer)
    lab = next((_LABS[known] for known in sorted(_LABS, reverse=True) if known <= build), _LABS[7600])
    lab = ".".join([str(build), *lab.split(".")[1:]])
    yield layout.SYSTEM_CONFIG_EX_BUILD_INFO, build_facts.build_info(lab, product(build))
    if build >= 10240:
        yield layout.SYSTEM_CONFIG_EX_DEVICE_FAMILY, build_facts.device_family(1, build)


def _card(adapter: Adapter, layer: int) -> bytes:
    """The row of an adapter (0) or of one of its filter layers."""
    _, _, if_type, medium, _ = _KINDS[adapter.link_type]
    alias = f"{adapter.alias}-{layer_title(layer - 1)}-0000" if layer else adapter.alias
    return build_facts.network_interface(
        adapter.if_index + layer, alias, adapter.description, adapter.mac, if_type=if_type, physical_medium=medium,
        guid=None if layer else adapter.guid, speed=adapter.speed, is_hardware=not layer, is_filter=bool(layer),
    )  # fmt: skip


def hooks_at_end(adapters: Sequence[Adapter], processors: int, mhz: int) -> Iterator[tuple[int, int, bytes]]:
    """(hook, version, payload) of the kernel's configuration events: processors, computer name, NIC addresses."""
    yield layout.HOOK_CPU_CONFIG, 3, build_facts.cpu_config(COMPUTER_NAME, "WORKGROUP", mhz=mhz, processors=processors)
    for adapter in adapters:
        yield (
            layout.HOOK_NIC_CONFIG,
            2,
            build_facts.nic_config(
                adapter.mac, adapter.if_index, adapter.if_index, adapter.description, ";".join(adapter.addresses)
            ),
        )
    yield layout.HOOK_PLATFORM_CONFIG, 2, build_facts.platform_config("Made-up", "Synthetic PC")
