"""What flows through etwcap: tables of packets and events over one byte buffer, and the facts beside them."""

from etwcap.packets.addresses import AddressBook, AddressKind
from etwcap.packets.chunk import Chunk, SideBlock
from etwcap.packets.facts import Damage, Description, InputFacts, Losses, Machine, Session
from etwcap.packets.interfaces import Interface, Interfaces
from etwcap.packets.marks import Mark
from etwcap.packets.receipt import Context, Note, Receipt
from etwcap.packets.table import EventTable, PacketTable, Table

__all__ = [
    "AddressBook",
    "AddressKind",
    "Chunk",
    "Context",
    "Damage",
    "Description",
    "EventTable",
    "InputFacts",
    "Interface",
    "Interfaces",
    "Losses",
    "Machine",
    "Mark",
    "Note",
    "PacketTable",
    "Receipt",
    "Session",
    "SideBlock",
    "Table",
]
