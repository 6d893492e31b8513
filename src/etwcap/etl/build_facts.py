"""Payload builders of records about the traced machine: what merging a trace adds, and kernel system configuration."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from etwcap.etl import layout
from etwcap.etl.build import GuidLike, guid_bytes, wide
from etwcap.etl.time import FILETIME_OF_1970

IF_TYPE_ETHERNET, IF_TYPE_LOOPBACK, IF_TYPE_VIRTUAL, IF_TYPE_WIFI, IF_TYPE_TUNNEL = 6, 24, 53, 71, 131
"""IF_TYPE_* of ipifcons.h."""

PHYSICAL_MEDIUM_WIFI, PHYSICAL_MEDIUM_802_3 = 9, 14
"""NDIS_PHYSICAL_MEDIUM of ntddndis.h."""


def _fixed_wide(text: str, units: int) -> NDArray[np.uint16]:
    """UTF-16 in a fixed array, always with room for its terminator."""
    out = np.zeros(units, "<u2")
    data = np.frombuffer(text.encode("utf-16-le"), "<u2")[: units - 1]
    out[: len(data)] = data
    return out


def network_interface(
    index: int,
    alias: str,
    description: str,
    mac: bytes = b"",
    *,
    if_type: int = IF_TYPE_ETHERNET,
    physical_medium: int = PHYSICAL_MEDIUM_802_3,
    guid: GuidLike | None = None,
    mtu: int = 1500,
    speed: int = 1_000_000_000,
    is_hardware: bool = True,
    is_filter: bool = False,
    oper_status: int = 1,
    media_type: int = 0,
) -> bytes:
    """MIB_IF_ROW2 of one interface (SYSTEM_CONFIG_EX_NETWORK_INTERFACE); ``speed`` in bit/s, both ways, ``media_type``
    an NDIS_MEDIUM."""
    row = np.zeros(1, layout.MIB_IF_ROW2)
    row["interface_luid"] = if_type << 48 | index << 24
    row["interface_index"] = index
    identity = guid if guid is not None else uuid.UUID(int=index << 64 | if_type)
    row["interface_guid"] = np.frombuffer(guid_bytes(identity), layout.GUID)
    row["alias"][0] = _fixed_wide(alias, 257)
    row["description"][0] = _fixed_wide(description, 257)
    row["physical_address_length"] = len(mac)
    for name in ("physical_address", "permanent_physical_address"):
        row[name][0, : len(mac)] = np.frombuffer(mac, np.uint8)
    row["mtu"] = mtu
    row["type"] = if_type
    row["media_type"] = media_type
    row["physical_medium_type"] = physical_medium
    row["access_type"] = 2  # NET_IF_ACCESS_BROADCAST
    row["flags"] = is_hardware | is_filter << 1 | is_hardware << 2
    row["oper_status"] = oper_status
    row["admin_status"] = 1
    row["media_connect_state"] = 1
    row["connection_type"] = 1  # NET_IF_CONNECTION_DEDICATED
    row["transmit_link_speed"] = row["receive_link_speed"] = speed
    return row.tobytes()


def build_info(build_lab: str, product: str, install_date: int = FILETIME_OF_1970) -> bytes:
    """SYSTEM_CONFIG_EX_BUILD_INFO, e.g. ``26100.1.amd64fre.ge_release.240331-1435`` and ``Windows 11 Pro``."""
    return struct.pack("<q", install_date) + wide(build_lab) + wide(product)


def system_paths(system: str = "C:\\Windows\\system32\\", windows: str = "C:\\Windows\\") -> bytes:
    """SYSTEM_CONFIG_EX_SYSTEM_PATHS."""
    return wide(system) + wide(windows)


def volume_mapping(nt_path: str = "\\Device\\HarddiskVolume3\\", dos_path: str = "C:\\") -> bytes:
    """SYSTEM_CONFIG_EX_VOLUME_MAPPING."""
    return wide(nt_path) + wide(dos_path)


def device_family(revision: int, build: int, major: int = 10, minor: int = 0, family: int = 3, form: int = 0) -> bytes:
    """SYSTEM_CONFIG_EX_DEVICE_FAMILY and hook 0x0B21; family 3 is a desktop, 9 a server."""
    return struct.pack("<HHHHII", revision, build, minor, major, family, form)


def partition_info() -> bytes:
    """PartitionInfoExtension (hook 0x0050) of a machine that is no guest: all zero."""
    return bytes(48)


def group_masks(masks: Iterable[int] = (), kernel_event_version: int = 70) -> bytes:
    """PERFINFO group masks (hooks 0x0005 and 0x0020)."""
    words = list(masks)
    if len(words) > 8:
        raise ValueError("there are 8 group masks")
    return struct.pack("<9I", *words, *[0] * (8 - len(words)), kernel_event_version)


def cpu_config(
    computer_name: str, domain: str = "", *, mhz: int = 2400, processors: int = 1, memory_mb: int = 8192
) -> bytes:
    """CPU configuration (hook 0x0B0A, version 3): processors and the computer's name."""
    head = struct.pack("<5I", mhz, processors, memory_mb, 4096, 65536)
    return head + _fixed_wide(computer_name, 256).tobytes() + _fixed_wide(domain, 134).tobytes()


def nic_config(mac: bytes, index4: int, index6: int, description: str, addresses: str = "", dns: str = "") -> bytes:
    """NIC configuration (hook 0x0B0D, version 2); ``addresses`` are separated by ``;``."""
    head = mac.ljust(8, b"\0") + struct.pack("<III", len(mac), index4, index6)
    return head + wide(description) + wide(addresses) + wide(dns)


def services_config(
    process: int, tag: int, name: str, display: str, image: str = "svchost.exe", state: int = 4, group: str = ""
) -> bytes:
    """Services configuration (hook 0x0B0F, version 3): one service."""
    head = struct.pack("<III", process, state, tag)
    return head + wide(name) + wide(display) + wide(image) + wide("") + wide(group)


def platform_config(manufacturer: str, product: str, bios_date: str = "", bios_version: str = "") -> bytes:
    """Platform configuration (hook 0x0B19, version 2)."""
    return wide(manufacturer) + wide(product) + wide(bios_date) + wide(bios_version)
