"""Facts about the traced machine.

Two kinds of records carry them: SystemConfigEx {9b79ee91-b5fd-41c0-a243-4248e266e9d0}, put into a trace when it is
merged (KernelTraceControl.h names the groups), and the kernel's own system configuration (hook group 0x0B and hook
0x0042 of group 0, NTWMI.H of the Windows 10 WDK). Layouts as seen on builds 9200 to 29559.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address, ip_address

import numpy as np
from numpy.typing import NDArray

from etwcap.etl.layout import MIB_IF_ROW2
from etwcap.etl.records import Records
from etwcap.etl.values import Cursor, PayloadError, ansi_text, guid_bytes, guid_text, utf16_text
from etwcap.providers.base import NetworkCard, Service, TraceFacts

_EVENT_TRACE, _SYSTEM_CONFIG = -1 - 0x00, -1 - 0x0B
"""Kernel groups as they stand in the column ``provider``."""
_BUILD_LAB = 0x42

_MOST = 16384
"""Rows kept of one kind; no machine comes near, a hostile trace might."""

_ARCHITECTURES = {"amd64": "x64", "x86": "x86", "arm64": "arm64", "arm": "arm", "woa": "arm"}
_FAMILIES = {
    3: "desktop", 4: "mobile", 5: "Xbox", 6: "team", 7: "IoT", 8: "IoT headless", 9: "server", 10: "holographic",
}  # fmt: skip
"""DEVICEFAMILYINFOENUM of winnt.h."""

_WINDOWS_11 = 22000
"""First build of Windows 11, whose registry still calls itself Windows 10."""

_IS_HARDWARE, _IS_FILTER = 0x01, 0x02
"""Bits of InterfaceAndOperStatusFlags in MIB_IF_ROW2."""


class SystemFacts:
    """Reads the machine, its network cards, services and volumes into :class:`TraceFacts`."""

    guid = guid_bytes("9b79ee91-b5fd-41c0-a243-4248e266e9d0")

    def __init__(self, facts: TraceFacts, ordinal: int) -> None:
        """``ordinal`` is the place of ``guid`` in the source's list of providers."""
        self.facts = facts
        self.ordinal = ordinal
        self.malformed = 0
        """records too short for what they should hold"""
        self._injected: dict[int, Callable[[bytes], None]] = {
            32: self._build_info,
            33: self._system_paths,
            35: self._volume_mapping,
            36: self._network_interface,
            37: self._device_family,
        }
        self._configured: dict[int, Callable[[bytes], None]] = {
            0x0A: self._cpu,
            0x0D: self._nic,
            0x0F: self._service,
            0x19: self._platform,
            0x21: self._device_family,
        }

    def wants(self, records: Records) -> NDArray[np.bool_]:
        """The records that say something about the machine."""
        provider = records["provider"]
        mask: NDArray[np.bool_] = (provider == self.ordinal) | (provider == _SYSTEM_CONFIG)
        mask |= (provider == _EVENT_TRACE) & (records["opcode"] == _BUILD_LAB)
        return mask

    def learn(self, buffer: NDArray[np.uint8], records: Records) -> None:
        """Take the facts in; the same record may come twice."""
        readers: dict[int, dict[int, Callable[[bytes], None]]] = {
            self.ordinal: self._injected,
            _SYSTEM_CONFIG: self._configured,
            _EVENT_TRACE: {_BUILD_LAB: self._build_lab},
        }
        for row in records:
            read = readers.get(int(row["provider"]), {}).get(int(row["opcode"]))
            if read is None:
                continue
            start, end = int(row["offset"]) + int(row["payload"]), int(row["offset"]) + int(row["size"])
            try:
                read(buffer[start:end].tobytes())
            except PayloadError:
                self.malformed += 1

    # ---- records of a merge ----

    def _build_info(self, payload: bytes) -> None:
        cursor = Cursor(payload)
        cursor.take(8)  # install date
        self._set_lab(cursor.utf16())
        product = cursor.utf16()
        if product:
            self.facts.machine.os_name = product
            self._correct_name()

    def _system_paths(self, payload: bytes) -> None:
        self.facts.system_directory = Cursor(payload).utf16()

    def _volume_mapping(self, payload: bytes) -> None:
        cursor = Cursor(payload)
        nt_path, dos_path = cursor.utf16(), cursor.utf16()
        if nt_path and dos_path and len(self.facts.volumes) < _MOST:
            self.facts.volumes[nt_path] = dos_path

    def _network_interface(self, payload: bytes) -> None:
        if len(payload) < MIB_IF_ROW2.itemsize:
            raise PayloadError(f"a network interface of {len(payload)} bytes")
        row = np.frombuffer(payload, MIB_IF_ROW2, 1)[0]
        length = min(int(row["physical_address_length"]), 32)
        bits = int(row["flags"])
        self._add_card(
            NetworkCard(
                index=int(row["interface_index"]),
                alias=utf16_text(row["alias"].tobytes()),
                description=utf16_text(row["description"].tobytes()),
                mac=row["physical_address"].tobytes()[:length],
                permanent_mac=row["permanent_physical_address"].tobytes()[:length],
                luid=int(row["interface_luid"]),
                guid=guid_text(row["interface_guid"].tobytes()),
                mtu=int(row["mtu"]),
                type=int(row["type"]),
                media_type=int(row["media_type"]),
                physical_medium=int(row["physical_medium_type"]),
                is_filter=bool(bits & _IS_FILTER),
                is_hardware=bool(bits & _IS_HARDWARE),
                oper_status=int(row["oper_status"]),
                transmit_speed=int(row["transmit_link_speed"]),
                receive_speed=int(row["receive_link_speed"]),
            )
        )

    def _device_family(self, payload: bytes) -> None:
        cursor = Cursor(payload)
        revision, build, minor, major = (cursor.unsigned(2) for _ in range(4))
        family = cursor.unsigned(4)
        if not build:
            return  # Windows 8 writes zeros
        machine = self.facts.machine
        machine.os_version = f"{major}.{minor}.{build}.{revision}"
        machine.family = _FAMILIES.get(family, machine.family)
        self._correct_name()

    # ---- the kernel's system configuration ----

    def _cpu(self, payload: bytes) -> None:
        cursor = Cursor(payload)
        mhz, processors = cursor.unsigned(4), cursor.unsigned(4)
        cursor.take(12)  # memory, page size, granularity
        machine = self.facts.machine
        machine.computer_name = utf16_text(cursor.take(512)) or machine.computer_name
        machine.cpu_mhz = mhz or machine.cpu_mhz
        machine.processors = machine.processors or processors
        machine.domain = utf16_text(cursor.data[cursor.at : cursor.at + 268]) or machine.domain

    def _nic(self, payload: bytes) -> None:
        cursor = Cursor(payload)
        mac = cursor.take(8)
        mac = mac[: min(cursor.unsigned(4), 8)]
        index4, index6 = cursor.unsigned(4), cursor.unsigned(4)
        description, addresses = cursor.utf16(), cursor.utf16()
        for index in {index4, index6} - {0}:
            if index not in self.facts.cards:
                self._add_card(NetworkCard(index, description=description, mac=mac))
        for text in addresses.split(";"):
            self._add_address(text.strip(), index4, index6)

    def _add_address(self, text: str, index4: int, index6: int) -> None:
        with suppress(ValueError):
            address = ip_address(text.partition("%")[0])
            index = index4 if isinstance(address, IPv4Address) else index6
            if index in self.facts.addresses or len(self.facts.addresses) < _MOST:
                known = self.facts.addresses.setdefault(index, [])
                if str(address) not in known and len(known) < _MOST:
                    known.append(str(address))

    def _service(self, payload: bytes) -> None:
        cursor = Cursor(payload)
        process, _state, tag = (cursor.unsigned(4) for _ in range(3))
        name, display_name, image = (cursor.utf16() for _ in range(3))
        if len(self.facts.services) < _MOST:
            self.facts.services[process, name] = Service(process, name, display_name, image, tag)

    def _platform(self, payload: bytes) -> None:
        cursor = Cursor(payload)
        manufacturer, product = cursor.utf16().strip(), cursor.utf16().strip()
        self.facts.machine.hardware = " ".join(part for part in (manufacturer, product) if part)

    def _build_lab(self, payload: bytes) -> None:
        self._set_lab(ansi_text(payload))

    # ---- what they share ----

    def _set_lab(self, lab: str) -> None:
        if not lab:
            return
        machine = self.facts.machine
        machine.build_lab = lab
        found = re.search(r"\.(amd64|arm64|x86|arm|woa)(fre|chk)\b", lab)
        if found:
            machine.architecture = _ARCHITECTURES[found[1]]

    def _correct_name(self) -> None:
        machine = self.facts.machine
        parts = machine.os_version.split(".")
        build = int(parts[2]) if len(parts) > 2 and parts[2].isdecimal() else 0
        if build >= _WINDOWS_11 and machine.os_name.startswith("Windows 10"):
            machine.os_name = "Windows 11" + machine.os_name.removeprefix("Windows 10")

    def _add_card(self, card: NetworkCard) -> None:
        if card.index in self.facts.cards or len(self.facts.cards) < _MOST:
            self.facts.cards[card.index] = card
