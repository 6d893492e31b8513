"""Twin of xpress.c: plain LZ77 decompression as MS-XCA 2.4 describes it."""

from __future__ import annotations

END, FULL = 2, 1
BAD_OFFSET, BAD_LENGTH, CUT = -1, -2, -3


def decode(data: bytes, size: int) -> tuple[bytes, int]:
    """At most ``size`` unpacked bytes of one stream, and how it ended: END, FULL or a negative error.

    What was unpacked before an error is good.
    """
    out = bytearray()
    at = 0
    flags = left = 0
    half: int | None = None
    while True:
        if left == 0:
            if len(data) - at < 4:
                return bytes(out), END if at == len(data) else CUT
            flags = int.from_bytes(data[at : at + 4], "little")
            at += 4
            left = 32
        left -= 1
        if not flags >> left & 1:
            if len(out) == size:
                return bytes(out), FULL
            if at == len(data):
                return bytes(out), CUT
            out.append(data[at])
            at += 1
            continue
        if at == len(data):
            return bytes(out), END
        if len(out) == size:
            return bytes(out), FULL
        token = data[at : at + 2]
        if len(token) < 2:
            return bytes(out), CUT
        at += 2
        value = int.from_bytes(token, "little")
        offset, length = (value >> 3) + 1, value & 7
        if length == 7:
            if half is None:
                if at == len(data):
                    return bytes(out), CUT
                nibble, half = data[at] & 15, data[at] >> 4
                at += 1
            else:
                nibble, half = half, None
            length = nibble + 7
            if nibble == 15:
                if at == len(data):
                    return bytes(out), CUT
                length = data[at] + 22
                at += 1
                if length == 255 + 22:
                    if len(data) - at < 2:
                        return bytes(out), CUT
                    length = int.from_bytes(data[at : at + 2], "little")
                    at += 2
                    if length == 0:
                        if len(data) - at < 4:
                            return bytes(out), CUT
                        length = int.from_bytes(data[at : at + 4], "little")
                        at += 4
                    if not 22 <= length <= 0x7FFFFFFF:
                        return bytes(out), BAD_LENGTH
        length += 3
        if offset > len(out):
            return bytes(out), BAD_OFFSET
        length = min(length, size - len(out))
        if offset >= length:
            out += out[len(out) - offset : len(out) - offset + length]
        else:
            pattern = bytes(out[-offset:])
            out += (pattern * (length // offset + 1))[:length]
