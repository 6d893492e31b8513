"""Structures of certificates (wincrypt.h)."""

# ruff: noqa: N801 - the names of the Windows SDK
from __future__ import annotations

from ctypes import Structure, c_uint32, c_void_p

from etwcap.windows.layouts_system import FILETIME

HEADERS = ("windows.h", "wincrypt.h")
"""C headers that declare the structures of this module."""


class CRYPT_DATA_BLOB(Structure):
    """Bytes elsewhere: numbers, names, parameters."""

    _fields_ = [("cbData", c_uint32), ("pbData", c_void_p)]


class CRYPT_BIT_BLOB(Structure):
    """Bits elsewhere."""

    _fields_ = [("cbData", c_uint32), ("pbData", c_void_p), ("cUnusedBits", c_uint32)]


class CRYPT_ALGORITHM_IDENTIFIER(Structure):
    """An algorithm and its parameters."""

    _fields_ = [("pszObjId", c_void_p), ("Parameters", CRYPT_DATA_BLOB)]


class CERT_PUBLIC_KEY_INFO(Structure):
    """A public key."""

    _fields_ = [("Algorithm", CRYPT_ALGORITHM_IDENTIFIER), ("PublicKey", CRYPT_BIT_BLOB)]


class CERT_INFO(Structure):
    """What a certificate says."""

    _fields_ = [
        ("dwVersion", c_uint32),
        ("SerialNumber", CRYPT_DATA_BLOB),
        ("SignatureAlgorithm", CRYPT_ALGORITHM_IDENTIFIER),
        ("Issuer", CRYPT_DATA_BLOB),
        ("NotBefore", FILETIME),
        ("NotAfter", FILETIME),
        ("Subject", CRYPT_DATA_BLOB),
        ("SubjectPublicKeyInfo", CERT_PUBLIC_KEY_INFO),
        ("IssuerUniqueId", CRYPT_BIT_BLOB),
        ("SubjectUniqueId", CRYPT_BIT_BLOB),
        ("cExtension", c_uint32),
        ("rgExtension", c_void_p),
    ]


class CERT_CONTEXT(Structure):
    """A certificate: its bytes, and what they say."""

    _fields_ = [
        ("dwCertEncodingType", c_uint32),
        ("pbCertEncoded", c_void_p),
        ("cbCertEncoded", c_uint32),
        ("pCertInfo", c_void_p),
        ("hCertStore", c_void_p),
    ]
