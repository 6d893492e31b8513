"""crypt32.dll: who signed a program or driver file, and when that signer's certificate was issued.

The signature is read, not verified: whether Windows accepts it is for Windows to say. Sources: Microsoft's pages of
CryptQueryObject, CryptMsgGetParam and CertFindCertificateInStore, and its sample "Get information from Authenticode
signed executables".
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from ctypes import c_int32, c_size_t, c_uint32, c_void_p
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from etwcap.windows.dll import Library, last_error
from etwcap.windows.failure import fail
from etwcap.windows.layouts_crypt32 import CERT_CONTEXT, CERT_INFO
from etwcap.windows.text import utf16, wide

NO_SIGNATURE = 0x80092009
"""CRYPT_E_NO_MATCH: there is no signature in the file"""

_FILE = 1
_EMBEDDED, _BINARY = 1 << 10, 1 << 1
_SIGNER_CERT_INFO = 7
_ENCODINGS = 0x10001
_FIND_SUBJECT_CERT = 11 << 16
_SIMPLE_NAME = 4
_NAME_ROOM = 512
_LARGEST = 1 << 16
_FILETIME_BEGIN = datetime(1601, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class Signature:
    """The first signature in a file: the name of its signer, and the beginning of that certificate's validity (UTC)."""

    signer: str
    issued: datetime


class Signatures:
    """The signatures of files."""

    def __init__(self, library: Library | None = None) -> None:
        self._dll = library or Library("crypt32.dll")

    def of(self, path: str) -> Signature | None:
        """The signature in a file; None where there is none (the file may be signed in a catalog all the same).

        Raises WindowsCallError where the file or its signature cannot be read.
        """
        query = self._dll.function(
            "CryptQueryObject",
            c_int32,
            *(c_uint32, c_void_p, c_uint32, c_uint32, c_uint32),
            *(c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p),
        )
        store, message = c_void_p(), c_void_p()
        found = query(
            _FILE, wide(path), _EMBEDDED, _BINARY, 0, None, None, None, ctypes.byref(store), ctypes.byref(message), None
        )
        if not found:
            code = last_error() & 0xFFFFFFFF
            if code == NO_SIGNATURE:
                return None
            fail("CryptQueryObject", code, what=f"the signature of {path} cannot be read")
        try:
            with self._certificate(store.value, message.value) as certificate:
                context = CERT_CONTEXT.from_address(certificate)
                begin = CERT_INFO.from_address(context.pCertInfo).NotBefore
                ticks = begin.dwHighDateTime << 32 | begin.dwLowDateTime
                return Signature(self._name(certificate), _FILETIME_BEGIN + timedelta(microseconds=ticks // 10))
        finally:
            self._dll.function("CryptMsgClose", c_int32, c_void_p)(message)
            self._dll.function("CertCloseStore", c_int32, c_void_p, c_uint32)(store, 0)

    @contextlib.contextmanager
    def _certificate(self, store: int | None, message: int | None) -> Iterator[int]:
        """The address of the first signer's certificate."""
        parameter = self._dll.function("CryptMsgGetParam", c_int32, c_void_p, c_uint32, c_uint32, c_void_p, c_void_p)
        size = c_uint32()
        if not parameter(message, _SIGNER_CERT_INFO, 0, None, ctypes.byref(size)):
            fail("CryptMsgGetParam", last_error(), what="the signature names no signer")
        room = (c_size_t * (min(max(size.value, ctypes.sizeof(CERT_INFO)), _LARGEST) // 8 + 1))()
        size.value = ctypes.sizeof(room)
        if not parameter(message, _SIGNER_CERT_INFO, 0, room, ctypes.byref(size)):
            fail("CryptMsgGetParam", last_error(), what="the signature names no signer")
        find = self._dll.function(
            "CertFindCertificateInStore", c_size_t, c_void_p, c_uint32, c_uint32, c_uint32, c_void_p, c_void_p
        )
        certificate = int(find(store, _ENCODINGS, 0, _FIND_SUBJECT_CERT, room, None))
        if not certificate:
            fail("CertFindCertificateInStore", last_error(), what="the signer's certificate is not in the signature")
        try:
            yield certificate
        finally:
            self._dll.function("CertFreeCertificateContext", c_int32, c_size_t)(certificate)

    def _name(self, certificate: int) -> str:
        room = (ctypes.c_uint16 * _NAME_ROOM)()
        name = self._dll.function(
            "CertGetNameStringW", c_uint32, c_size_t, c_uint32, c_uint32, c_void_p, c_void_p, c_uint32
        )
        name(certificate, _SIMPLE_NAME, 0, None, room, _NAME_ROOM)
        return utf16(room)
