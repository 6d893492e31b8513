"""Marks: what a stage changed in a packet, or what is special about it."""

from __future__ import annotations

import enum


class Mark(enum.IntFlag):
    """Bits of the ``flags`` column. A sink can show each of them; the receipt counts them."""

    LATE = 1 << 0
    """Came after a packet with a later time was already passed on."""
    DROP_ONLY = 1 << 1
    """Exists in the trace only as a drop report."""
    HEADER_REBUILT = 1 << 2
    """The IP header was rebuilt by Windows (transport-layer drops): TTL, id, TOS and checksum are not the packet's."""
    PROTECTED_CLEARED = 1 << 3
    """The 802.11 Protected bit was set on a clear frame and has been cleared (repair ``wifi``)."""
    FROM_WIFI = 1 << 4
    """An 802.11 frame turned into the Ethernet frame the stack saw (``--ethernet``)."""
    PROCESS_TRUSTED = 1 << 5
    """The event header's process id is that of the sender as far as the tap can know it, and may be shown."""
    TRUNCATED = 1 << 6
    """The event says that the packet was cut; where no original length is logged, it is not known."""
    TIME_CLAMPED = 1 << 7
    """The time did not fit and was set to the nearest that does."""
    LENGTH_IMPLAUSIBLE = 1 << 8
    """The event's own length fields contradict each other; what is there was taken."""
    DIRECTION_GUESSED = 1 << 9
    """The direction was inferred, not logged."""
    HEADER_DECODED = 1 << 10
    """The IP header was made from fields of the event (WFP): what they do not tell (TTL, id, TOS) is not the
    packet's."""
    IPV6_REBUILT = 1 << 16
    """The IPv6 header was left out by a raw socket and has been rebuilt; traffic class and flow label are 0 and the
    hop limit is a default where they were not told."""
    NEXT_HEADER_INFERRED = 1 << 17
    """The Next Header was inferred from the data."""
    NEXT_HEADER_UNKNOWN = 1 << 18
    """The Next Header could not be told: 255 stands there."""
    DESTINATION_INFERRED = 1 << 19
    """The destination was inferred from checksums and context."""
    DESTINATION_UNKNOWN = 1 << 20
    """The destination could not be told: :: stands there."""
    MOVED = 1 << 21
    """Moved behind the packet that it answers, or behind an earlier one of its sender (repair ``order``)."""
    RESTAMPED = 1 << 22
    """The stamp came after that of a later receive of the same socket and was set to it (repair ``order``)."""
