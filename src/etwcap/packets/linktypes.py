"""Link types (LINKTYPE_ values of the pcap and pcapng formats) that etwcap reads and writes."""

from __future__ import annotations

ETHERNET = 1
RAW_IP = 101
IEEE802_11 = 105
IEEE802_11_RADIOTAP = 127
IPV4 = 228
IPV6 = 229
UPPER_PDU = 252
"""Wireshark's exported PDUs: a dissector name in TLVs, then the bytes."""
ETW = 290
"""events of Windows, before they become packets"""

NAMES = {
    0: "NULL",
    ETHERNET: "EN10MB",
    RAW_IP: "RAW",
    IEEE802_11: "IEEE802_11",
    113: "LINUX_SLL",
    IEEE802_11_RADIOTAP: "IEEE802_11_RADIO",
    IPV4: "IPV4",
    IPV6: "IPV6",
    UPPER_PDU: "WIRESHARK_UPPER_PDU",
    276: "LINUX_SLL2",
    ETW: "ETW",
}

TITLES = {ETHERNET: "Ethernet", RAW_IP: "raw IP", IEEE802_11: "802.11", IEEE802_11_RADIOTAP: "802.11 with radiotap"}


def title(link_type: int) -> str:
    """A name for people: "Ethernet", "802.11", "link type 147"."""
    return TITLES.get(link_type) or NAMES.get(link_type) or f"link type {link_type}"
