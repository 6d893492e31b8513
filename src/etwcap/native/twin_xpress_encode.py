"""Twin of xpress_encode.c."""

from __future__ import annotations

WINDOW = 8192
MIN_MATCH = 3


def _slot(data: bytes, at: int) -> int:
    return (int.from_bytes(data[at : at + 3], "little") * 2654435761 & 0xFFFFFFFF) >> 17


def _match_length(data: bytes, seen: int, at: int) -> int:
    length = 0
    step = 4096
    while step:
        old, new = seen + length, at + length
        if new + step <= len(data) and data[old : old + step] == data[new : new + step]:
            length += step
        else:
            step //= 2
    return length


class _Stream:
    """The output: tokens, and before every 32 of them their flags."""

    def __init__(self) -> None:
        self.out = bytearray(4)
        self.flags_at = 0
        self.flags = 0
        self.count = 0
        self.half_at = -1

    def put_flag(self, bit: int) -> None:
        self.flags = self.flags << 1 | bit
        self.count += 1
        if self.count == 32:
            self.out[self.flags_at : self.flags_at + 4] = self.flags.to_bytes(4, "little")
            self.flags_at = len(self.out)
            self.out += bytes(4)
            self.flags = self.count = 0

    def put_literal(self, byte: int) -> None:
        self.out.append(byte)
        self.put_flag(0)

    def put_match(self, offset: int, length: int) -> None:
        more = length - MIN_MATCH
        self.out += (offset - 1 << 3 | min(more, 7)).to_bytes(2, "little")
        if more >= 7:
            nibble = min(more - 7, 15)
            if self.half_at >= 0:
                self.out[self.half_at] |= nibble << 4
                self.half_at = -1
            else:
                self.half_at = len(self.out)
                self.out.append(nibble)
        if more >= 22:
            if more - 22 < 255:
                self.out.append(more - 22)
            elif more <= 0xFFFF:
                self.out += b"\xff" + more.to_bytes(2, "little")
            else:
                self.out += b"\xff\0\0" + more.to_bytes(4, "little")
        self.put_flag(1)

    def end(self) -> bytes:
        left = 32 - self.count
        self.out[self.flags_at : self.flags_at + 4] = (self.flags << left | (1 << left) - 1).to_bytes(4, "little")
        return bytes(self.out)


def xpress_encode(data: bytes) -> bytes:
    """Twin of :func:`etwcap.native.xpress_encode.xpress_encode`."""
    stream = _Stream()
    heads: dict[int, int] = {}
    at = 0
    while at < len(data):
        if len(data) - at >= MIN_MATCH:
            slot = _slot(data, at)
            seen = heads.get(slot)
            heads[slot] = at
            if seen is not None and at - seen <= WINDOW:
                length = _match_length(data, seen, at)
                if length >= MIN_MATCH:
                    stream.put_match(at - seen, length)
                    at += length
                    continue
        stream.put_literal(data[at])
        at += 1
    return stream.end()
