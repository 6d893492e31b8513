"""Microsoft-Windows-Ras-NdisWanPacketCapture: the Ethernet frames inside Windows' own VPN and dial-up tunnels.

Each (routing domain, user) is an interface.
"""

from __future__ import annotations

import uuid
from typing import Final

import numpy as np
from numpy.typing import NDArray

from etwcap.etl.records import EVENT32, EVENT64, Records, pick
from etwcap.native.rows import gather_rows
from etwcap.native.texts import skip_texts
from etwcap.packets import Context, Interface, PacketTable
from etwcap.packets.linktypes import ETHERNET
from etwcap.providers.base import MOST_INTERFACES, TraceFacts, first_of_each, payload_spans, report_malformed
from etwcap.providers.ras_layout import GUID, EventId

_U32: Final = np.dtype([("value", "<u4")])
_NO_DOMAIN: Final = str(uuid.UUID(int=0))


class RasProvider:
    """Packets of the RAS capture driver."""

    tap = "ras"
    guid = GUID

    def __init__(self, context: Context, facts: TraceFacts) -> None:
        self._context = context
        self._facts = facts
        self._interfaces: dict[int, int] = {}
        """by the hash of the two texts"""

    def packet_rows(self, records: Records) -> NDArray[np.bool_]:
        """The events 5001 and 5002."""
        event = (records["type"] == EVENT64) | (records["type"] == EVENT32)
        rows: NDArray[np.bool_] = event & np.isin(records["id"], (EventId.SENT, EventId.RECEIVED))
        return rows

    def learn(self, buffer: NDArray[np.uint8], records: Records) -> None:
        """Nothing else in this provider's events is of use."""

    def decode(self, buffer: NDArray[np.uint8], records: Records) -> tuple[PacketTable, NDArray[np.intp]]:
        """One row per event."""
        starts, sizes = payload_spans(buffer, records)
        ends = starts + sizes
        after, key = skip_texts(buffer, starts, ends, np.ones(len(records), np.uint32), 0, 2)
        fits = (after >= 0) & (after + 4 <= ends)
        rows = np.flatnonzero(fits)
        length = gather_rows(buffer, after[rows], _U32)["value"].astype(np.uint32)
        held = after[rows] + 4 + length <= ends[rows]
        fits[rows[~held]] = False
        rows, length = rows[held], length[held]
        if not fits.all():
            what = "a RAS packet is longer than its record"
            report_malformed(self._context, self._facts, pick(records, ~fits), what)
        mine = pick(records, rows)
        packets = PacketTable(len(rows))
        for name in ("time", "process", "thread", "processor"):
            packets[name] = mine[name].copy()
        packets["direction"] = np.where(mine["id"] == EventId.SENT, 2, 1)
        packets["offset"] = after[rows] + 4
        packets["captured"], packets["original"] = length, length.copy()
        packets["interface"] = self._place(buffer, starts[rows], after[rows], key[rows])
        self._context.receipt.packets_read += len(packets)
        return packets, rows

    def finish(self) -> None:
        """Nothing is left to say."""

    def _place(
        self, buffer: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64], key: NDArray[np.uint64]
    ) -> NDArray[np.int32]:
        """The interface of each row."""
        first, back = first_of_each(key)
        numbers = []
        for row, count in zip(first.tolist(), np.bincount(back).tolist(), strict=True):
            value = int(key[row])
            if value not in self._interfaces and len(self._interfaces) < MOST_INTERFACES:
                self._interfaces[value] = self._interface(buffer[int(starts[row]) : int(ends[row])].tobytes())
            number = self._interfaces[value] if value in self._interfaces else self._others()
            self._context.interfaces[number].reports += count
            numbers.append(number)
        return np.array(numbers, np.int32)[back]

    def _others(self) -> int:
        return self._context.interfaces.add(Interface(ETHERNET, name="RAS: further users", tap=self.tap), (self.tap, 0))

    def _interface(self, texts: bytes) -> int:
        domain, user = texts.decode("utf-16-le", "replace").split("\0")[:2]
        bare = domain.strip("{}").lower()
        named = [f"routing domain {bare}"] if bare not in ("", _NO_DOMAIN) else []
        made = Interface(ETHERNET, name=f"RAS: {user}" if user else "RAS", tap=self.tap)
        if named:
            made.name += f" ({named[0]})"
        machine = self._facts.machine
        made.os = " ".join(part for part in (machine.os_name, machine.os_version) if part)
        return self._context.interfaces.add(made, (self.tap, domain, user))
