"""A made program file with a signature in it: the places are right, the signature itself is of nobody."""

from __future__ import annotations

import struct
from datetime import datetime, timedelta


def der(tag: int, *parts: bytes) -> bytes:
    """One element of DER."""
    body = b"".join(parts)
    if len(body) < 128:
        return bytes([tag, len(body)]) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + body


def oid(text: str) -> bytes:
    """An object identifier."""
    first, second, *rest = map(int, text.split("."))
    packed = bytearray([40 * first + second])
    for number in rest:
        sevens = [number & 0x7F]
        while number := number >> 7:
            sevens.append(number & 0x7F | 0x80)
        packed += bytes(reversed(sevens))
    return der(0x06, bytes(packed))


def sequence(*parts: bytes) -> bytes:
    return der(0x30, *parts)


NULL = der(0x05)
SHA256 = sequence(oid("2.16.840.1.101.3.4.2.1"), NULL)
RSA = sequence(oid("1.2.840.113549.1.1.1"), NULL)
SHA256_RSA = sequence(oid("1.2.840.113549.1.1.11"), NULL)
SERIAL = der(0x02, b"\x11\x22\x33")


def name(common: str) -> bytes:
    return sequence(der(0x31, sequence(oid("2.5.4.3"), der(0x0C, common.encode()))))


def certificate(signer: str, issued: datetime) -> bytes:
    """A certificate of which only the names and the times mean anything."""
    times = [der(0x17, f"{each:%y%m%d%H%M%SZ}".encode()) for each in (issued, issued + timedelta(days=365))]
    key = sequence(RSA, der(0x03, b"\0", sequence(der(0x02, b"\x7f" * 64), der(0x02, b"\x01\0\x01"))))
    facts = sequence(
        der(0xA0, der(0x02, b"\2")), SERIAL, SHA256_RSA, name("Made CA"), sequence(*times), name(signer), key
    )
    return sequence(facts, SHA256_RSA, der(0x03, b"\0" + bytes(64)))


def signature(signer: str, issued: datetime) -> bytes:
    """A PKCS #7 message as Authenticode has it."""
    digest = sequence(sequence(oid("1.3.6.1.4.1.311.2.1.15")), sequence(SHA256, der(0x04, bytes(32))))
    content = sequence(oid("1.3.6.1.4.1.311.2.1.4"), der(0xA0, digest))
    who = sequence(name("Made CA"), SERIAL)
    signed = sequence(der(0x02, b"\1"), who, SHA256, RSA, der(0x04, b"\x5a" * 64))
    certificates = der(0xA0, certificate(signer, issued))
    message = sequence(der(0x02, b"\1"), der(0x31, SHA256), content, certificates, der(0x31, signed))
    return sequence(oid("1.2.840.113549.1.7.2"), der(0xA0, message))


def program(signed: bytes = b"") -> bytes:
    """A PE file for x64 without sections, with ``signed`` as its table of certificates."""
    table = b""
    if signed:
        size = 8 + len(signed)
        table = struct.pack("<IHH", size, 0x200, 2) + signed + bytes(-size % 8)
    dos = b"MZ".ljust(60, b"\0") + struct.pack("<I", 64)
    coff = b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, 0, 0, 0, 0, 240, 0x22)
    begin = 512
    optional = bytearray(240)
    struct.pack_into("<H", optional, 0, 0x20B)
    struct.pack_into("<QII", optional, 24, 0x140000000, 0x1000, 0x200)
    struct.pack_into("<II", optional, 56, 0x1000, begin)
    struct.pack_into("<H", optional, 68, 1)  # a driver's subsystem: native
    struct.pack_into("<I", optional, 108, 16)
    if table:
        struct.pack_into("<II", optional, 112 + 4 * 8, begin, len(table))
    return (dos + coff + bytes(optional)).ljust(begin, b"\0") + table
