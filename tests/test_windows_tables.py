"""Windows' tables of addresses and endpoints, read into rows."""

from __future__ import annotations

import ctypes
from ipaddress import ip_address
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etwcap.errors import UsageError
from etwcap.windows import layouts_iphlpapi as layouts
from etwcap.windows.addresses import addresses, endpoints, rows_of, text, unix_ns
from etwcap.windows.iphlpapi import distinct
from etwcap.windows.layouts_winsock import SOCKADDR_INET
from etwcap.windows.winsock import AF_INET, AF_INET6, read_sockaddr, sockaddr


def inet(address: str) -> SOCKADDR_INET:
    return SOCKADDR_INET.from_buffer_copy(sockaddr(address).ljust(ctypes.sizeof(SOCKADDR_INET), b"\0"))


def table(rows: list[Any], first: int = 8) -> bytes:
    return len(rows).to_bytes(4, "little").ljust(first, b"\xcc") + b"".join(bytes(row) for row in rows)


def test_addresses_of_both_families_are_read() -> None:
    rows = [
        layouts.MIB_UNICASTIPADDRESS_ROW(Address=inet(each), InterfaceIndex=index, OnLinkPrefixLength=24, DadState=4)
        for index, each in enumerate(["192.0.2.7", "2001:db8::1", "fe80::1%9"], 5)
    ]
    read = rows_of(table(rows), layouts.MIB_UNICASTIPADDRESS_ROW, 8)
    found = addresses(read["Address"], read["InterfaceIndex"], state=read["DadState"], prefix_length=24)
    assert [text(each) for each in found] == ["192.0.2.7", "2001:db8::1", "fe80::1%9"]
    assert found["family"].tolist() == [4, 6, 6]
    assert found["if_index"].tolist() == [5, 6, 7]
    assert found["state"].tolist() == [4, 4, 4]
    assert bytes(found["address"][0]) == bytes([192, 0, 2, 7]) + bytes(12)


def test_addresses_of_an_unknown_family_are_left_out() -> None:
    rows = [layouts.MIB_IPNET_ROW2(Address=inet("192.0.2.1")), layouts.MIB_IPNET_ROW2()]
    read = rows_of(table(rows), layouts.MIB_IPNET_ROW2, 8)
    assert [text(each) for each in addresses(read["Address"], read["InterfaceIndex"])] == ["192.0.2.1"]


ENDPOINTS = {
    "TCP": (layouts.MIB_TCPROW_OWNER_PID, 4, 6, 4),
    "TCP, since when": (layouts.MIB_TCPROW_OWNER_MODULE, 8, 6, 4),
    "TCP over IPv6": (layouts.MIB_TCP6ROW_OWNER_PID, 4, 6, 6),
    "TCP over IPv6, since when": (layouts.MIB_TCP6ROW_OWNER_MODULE, 8, 6, 6),
    "UDP": (layouts.MIB_UDPROW_OWNER_PID, 4, 17, 4),
    "UDP, since when": (layouts.MIB_UDPROW_OWNER_MODULE, 8, 17, 4),
    "UDP over IPv6": (layouts.MIB_UDP6ROW_OWNER_PID, 4, 17, 6),
    "UDP over IPv6, since when": (layouts.MIB_UDP6ROW_OWNER_MODULE, 8, 17, 6),
}


@pytest.mark.parametrize(("row", "first", "protocol", "family"), ENDPOINTS.values(), ids=ENDPOINTS)
def test_endpoints_of_each_table_are_read(row: Any, first: int, protocol: int, family: int) -> None:
    local, remote = ("192.0.2.1", "198.51.100.2") if family == 4 else ("2001:db8::1", "2001:db8::2")
    one = row()
    fields = {name for name, *_ in row._fields_}
    prefix = "dw" if family == 4 else "uc"
    getattr(one, f"{prefix}LocalAddr")[:] = list(ip_address(local).packed)
    one.dwLocalPort = 0xABCD0000 | 0x5000  # port 80 in network order; the upper half is rubbish
    one.dwOwningPid = 4242
    if protocol == 6:
        getattr(one, f"{prefix}RemoteAddr")[:] = list(ip_address(remote).packed)
        one.dwRemotePort = 0xBB01
        one.dwState = 5
    if family == 6:
        one.dwLocalScopeId = 3
    if "liCreateTimestamp" in fields:
        one.liCreateTimestamp = 116_444_736_000_000_000 + 12
    (found,) = endpoints(rows_of(table([one], first), row, first), protocol, family)
    assert (found["protocol"], found["family"], found["process"], found["local_port"]) == (protocol, family, 4242, 80)
    size = 4 if family == 4 else 16
    assert bytes(found["local_address"])[:size] == ip_address(local).packed
    if protocol == 6:
        assert (found["remote_port"], found["state"]) == (443, 5)
        assert bytes(found["remote_address"])[:size] == ip_address(remote).packed
    assert found["local_scope"] == (3 if family == 6 else 0)
    assert found["created"] == (1200 if "liCreateTimestamp" in fields else 0)


@given(st.binary(max_size=600), st.sampled_from([each[0] for each in ENDPOINTS.values()]), st.sampled_from([4, 8]))
def test_a_count_beyond_the_table_is_cut(data: bytes, row: Any, first: int) -> None:
    read = rows_of(data, row, first)
    assert len(read) * ctypes.sizeof(row) + first <= max(len(data), first)
    assert len(endpoints(read, 6, 4)) == len(read)


@given(st.integers(-(2**63), 2**63 - 1))
def test_any_time_of_an_endpoint_is_a_time_or_unknown(value: int) -> None:
    found = int(unix_ns(np.array([value], np.int64))[0])
    assert found == 0 or found == (value - 116_444_736_000_000_000) * 100


def test_an_address_is_a_candidate_once() -> None:
    rows = [
        layouts.MIB_IPNET_ROW2(Address=inet(each)) for each in ["::1", "192.0.2.1", "::1", "fe80::1%2", "fe80::1%3"]
    ]
    read = rows_of(table(rows), layouts.MIB_IPNET_ROW2, 8)
    found = distinct(addresses(read["Address"], read["InterfaceIndex"]))
    assert [text(each) for each in found] == ["::1", "192.0.2.1", "fe80::1%2", "fe80::1%3"]


@pytest.mark.parametrize("address", ["192.0.2.1", "::", "2001:db8::5", "fe80::1%12"])
@pytest.mark.parametrize("port", [0, 80, 65_535])
def test_an_address_goes_into_a_sockaddr_and_back(address: str, port: int) -> None:
    assert read_sockaddr(sockaddr(address, port)) == (address, port)


def test_the_families_have_the_numbers_of_windows() -> None:
    assert sockaddr("192.0.2.1")[:2] == bytes([AF_INET, 0])
    assert sockaddr("::1")[:2] == bytes([AF_INET6, 0])


@given(st.binary(max_size=40))
def test_any_bytes_are_a_sockaddr_or_none(data: bytes) -> None:
    address, port = read_sockaddr(data)
    assert 0 <= port < 65_536
    if address:
        ip_address(address)


@pytest.mark.parametrize("address", ["", "localhost", "192.0.2.1%4", "1.2.3"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="no IP address"):
        sockaddr(address)
