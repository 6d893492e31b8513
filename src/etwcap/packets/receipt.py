"""The context of a run: what its sources, stages and sink share, and the receipt they write together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from etwcap.packets.addresses import AddressBook
from etwcap.packets.facts import Description
from etwcap.packets.interfaces import Interfaces
from etwcap.packets.table import PacketTable
from etwcap.words import safe_text


class Point(NamedTuple):
    """Where a packet was seen: a component and one of its edges (PktMon), or a layer (NdisCap)."""

    component: int
    edge: int
    name: str
    """for people: "tcpip.sys Lower", "layer 14" """


@dataclass(slots=True)
class Note:
    """One line of the receipt: what was changed or noticed, how often, why."""

    kind: str
    """stable name for machines: "wifi", "duplicates", "drops" ..."""
    text: str
    count: int = 0


@dataclass(slots=True)
class Receipt:
    """What a run did."""

    backend: str = ""
    packets_read: int = 0
    """packet events decoded, every sighting counted"""
    packets_written: int = 0
    events_read: int = 0
    """events that are no packets"""
    bytes_written: int = 0
    first_time: int | None = None
    last_time: int | None = None
    notes: dict[str, Note] = field(default_factory=dict)

    def note(self, kind: str, text: str, count: int = 1) -> None:
        """Add to the note of that kind; the text of the first call stays."""
        if count <= 0:
            return
        known = self.notes.setdefault(kind, Note(kind, text))
        known.count += count


class TextPool:
    """Texts by small number; a row of a table refers to one of them."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._known: dict[str, int] = {}

    def add(self, text: str) -> int:
        """The number of the text; what could steer a terminal is escaped in it, lines stay."""
        text = safe_text(text, "\n")
        number = self._known.get(text)
        if number is None:
            number = self._known[text] = len(self.texts)
            self.texts.append(text)
        return number


class Context:
    """Shared by everything in one run."""

    def __init__(self) -> None:
        self.interfaces = Interfaces()
        self.points: list[Point] = []
        self._points: dict[tuple[int, int, str], int] = {}
        self.addresses = AddressBook()
        """addresses of the captured machine and those it knew, where a tap read its tables; grows on the way"""
        self.comments = TextPool()
        self.receipt = Receipt()
        self.descriptions: list[Description] = []
        self.radiotap = True
        """whether providers put what is known of the radio before 802.11 frames"""
        self.drop_reason_texts: dict[int, str] = {}
        """a trace's own texts of drop reasons by number, for those that no table knows"""

    def add_point(self, point: Point) -> int:
        """The index of the point in ``points``."""
        number = self._points.get(point)
        if number is None:
            number = self._points[point] = len(self.points)
            self.points.append(point)
        return number

    def add_comment(self, packets: PacketTable, rows: NDArray[np.intp] | NDArray[np.bool_], text: str) -> None:
        """Give the rows a comment; one that they have already stays before it, on a line of its own."""
        column = packets.writable("comment")
        held = column[rows]
        column[rows] = self.comments.add(text)
        for earlier in np.unique(held[held >= 0]):
            joined = self.comments.add(f"{self.comments.texts[earlier]}\n{text}")
            picked = held == earlier
            column[np.flatnonzero(rows)[picked] if rows.dtype == np.bool_ else rows[picked]] = joined
