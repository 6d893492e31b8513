"""What PktMon is told of a filter lets through whatever the filter does, in each of its forms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import need_native_core
from etwcap.errors import UsageError
from etwcap.filters.split import Constraint
from etwcap.providers.pktmon_components import ComponentTree, Filter
from etwcap.providers.pktmon_layout import EventId
from etwcap.taps.pktmon_filters import (
    Present,
    as_words,
    constraints_of,
    filter_words,
    legacy_filter,
    no_stricter,
    one_family,
    protocol_constraint,
    whole_addresses,
)
from etwcap.windows.layouts_pktmon import LEGACY_FILTER, PROTOCOL_CONSTRAINT
from etwcap.windows.text import utf16
from filter_packets import Expressions
from pktmon_windows import ME, PktMonWindows
from test_filter_split import accepts, wanted
from test_taps_pktmon import captured, commands, opened

BUILDS = (17763, 19041, 19044, 26100)
FORMS: dict[str, Callable[[Constraint], Constraint]] = {
    **{f"words of {build}": as_words(build) for build in BUILDS},
    "the API": one_family,
    "the older exports": whole_addresses,
}
NUMBERS = {"IPv4": 0x0800, "IPv6": 0x86DD, "ARP": 0x0806, "ICMP": 1, "TCP": 6, "UDP": 17, "ICMPv6": 58}
FLAGS = {"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32}


def from_words(words: list[str]) -> Constraint:
    """What pktmon.exe understands."""
    options: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("-"):
            options[word] = []
        else:
            options[list(options)[-1]].append(word)
    made = Constraint()
    if "-d" in options:
        (kind,) = options["-d"]
        made = replace(made, ether_type=NUMBERS.get(kind) or int(kind, 16))
    if "-t" in options:
        kind, *flags = options["-t"]
        number = NUMBERS[kind] if kind in NUMBERS else int(kind, 16)
        made = replace(made, protocol=number, flags=sum(FLAGS[each] for each in flags))
    nets = [ip_network(each) for each in options.get("-i", [])]
    return replace(
        made,
        macs=tuple(bytes.fromhex(each.replace("-", "")) for each in options.get("-m", [])),
        nets=tuple((each.version, int(each.network_address), each.prefixlen) for each in nets),
        ports=tuple(int(each) for each in options.get("-p", [])),
    )


def from_structure(made: PROTOCOL_CONSTRAINT | LEGACY_FILTER) -> Constraint:
    """What the API or an older export understands."""
    legacy = isinstance(made, LEGACY_FILTER)
    has = Present(0) if legacy else Present(made.IsPresent)
    version = 6 if (made.IsIpv6 if legacy else has & Present.IPV6) else 4
    width = 128 if version == 6 else 32
    nets = []
    for number, bit, prefix in ((1, Present.IP1, Present.PREFIX1), (2, Present.IP2, Present.PREFIX2)):
        packed = bytes(getattr(made, f"Ip{number}"))[: width // 8]
        length = getattr(made, f"PrefixLength{number}")
        if any(packed) if legacy else bit in has:
            nets.append(
                (version, int.from_bytes(packed, "big"), length if prefix in has or (legacy and length) else width)
            )
    macs = [bytes(made.Mac1), bytes(made.Mac2)]
    ports = [made.Port1, made.Port2]
    kept = [any(each) for each in macs] if legacy else [Present.MAC1 in has, Present.MAC2 in has]
    wanted_ports = [bool(each) for each in ports] if legacy else [Present.PORT1 in has, Present.PORT2 in has]
    ether = made.EtherType if made.EtherType or Present.ETHER_TYPE in has else None
    protocol = made.TransportProtocol if made.TransportProtocol or Present.PROTOCOL in has else None
    return Constraint(
        ether,
        tuple(mac for mac, keep in zip(macs, kept, strict=True) if keep),
        tuple(nets),
        protocol,
        tuple(port for port, keep in zip(ports, wanted_ports, strict=True) if keep),
        made.TCPFlags,
    )


@given(st.integers(0, 1 << 32))
def test_a_packet_that_the_filter_wants_passes_what_pktmon_is_told(seed: int) -> None:
    expression = Expressions(seed).expression()
    try:
        frames = wanted(expression)
    except UsageError:
        return
    for name, form in FORMS.items():
        told = constraints_of(expression, form)
        lost = [frame.hex() for frame in frames if told and not any(accepts(each, frame) for each in told)]
        assert lost == [], (expression, name, told)


def constraints() -> st.SearchStrategy[Constraint]:
    """Conditions as ``split`` makes them, and any others that a form must bear."""
    four = st.tuples(st.just(4), st.integers(1, 2**32 - 1), st.integers(1, 32))
    six = st.tuples(st.just(6), st.integers(1, 2**128 - 1), st.integers(1, 128))

    def masked(net: tuple[int, int, int]) -> tuple[int, int, int]:
        version, address, length = net
        width = 32 if version == 4 else 128
        return version, max(address >> (width - length), 1) << (width - length), length

    return st.builds(
        Constraint,
        st.none() | st.integers(1, 0xFFFF),
        st.lists(st.binary(min_size=6, max_size=6).filter(any), max_size=2).map(tuple),
        st.lists((four | six).map(masked), max_size=2).map(tuple),
        st.none() | st.integers(1, 255),
        st.lists(st.integers(1, 0xFFFF), max_size=2).map(tuple),
        st.integers(0, 0x3F),
    )


def weaker(told: Constraint, asked: Constraint) -> bool:
    """Whether each condition of the one stands in the other."""
    return (
        told.ether_type in (None, asked.ether_type)
        and set(told.macs) <= set(asked.macs)
        and set(told.nets) <= set(asked.nets)
        and told.protocol in (None, asked.protocol)
        and set(told.ports) <= set(asked.ports)
        and told.flags in (0, asked.flags)
    )


@given(constraints())
def test_every_form_says_no_more_than_was_asked_and_exactly_what_it_takes_over(asked: Constraint) -> None:
    for build in BUILDS:
        told = as_words(build)(asked)
        assert weaker(told, asked)
        understood = from_words(filter_words(told))
        assert understood == (told if told.protocol == 6 else replace(told, flags=0))
    told = one_family(asked)
    assert from_structure(protocol_constraint(told, "name")) == told
    assert weaker(told, asked)
    told = whole_addresses(asked)
    assert from_structure(legacy_filter(told, "name")) == told
    assert weaker(told, asked)


@pytest.mark.parametrize(
    ("build", "expression", "words"),
    [
        (22621, "tcp port 443", ["-t TCP -p 443"]),
        (22621, "udp port 53 or arp", ["-t UDP -p 53", "-d ARP"]),
        (22621, "ip net 192.0.2.0/24", ["-d IPv4 -i 192.0.2.0/24"]),
        (22621, "ip6 host 2001:db8::1 and udp port 53", ["-d IPv6 -t UDP -i 2001:db8::1 -p 53"]),
        (22621, "ether host 02:00:00:00:00:01", ["-m 02-00-00-00-00-01"]),
        (22621, "ip proto 89", ["-d IPv4 -t 0x59"]),
        (22621, "rarp", ["-d 0x8035"]),
        (22621, "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", ["-d IPv4 -t TCP FIN SYN"]),
        (19041, "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", ["-d IPv4 -t TCP"]),
        (19041, "ip net 192.0.2.0/24", ["-d IPv4"]),
        (19041, "tcp port 80 and port 443", ["-t TCP -p 80 443"]),
        (17763, "tcp port 80 and port 443", ["-t TCP -p 80"]),
        (22621, "not tcp", []),
        (22621, "", []),
    ],
)
def test_the_words_of_a_filter(build: int, expression: str, words: list[str]) -> None:
    told = constraints_of(expression, as_words(build))
    assert [" ".join(filter_words(each)) for each in told] == words


def test_the_structure_of_the_api() -> None:
    (told,) = constraints_of("ip6 net 2001:db8::/32 and tcp port 443", one_family)
    made = protocol_constraint(told, "etwcap-1")
    assert utf16(made.Name) == "etwcap-1"
    assert (made.EtherType, made.TransportProtocol, made.Port1, made.PrefixLength1) == (0x86DD, 6, 443, 32)
    assert bytes(made.Ip1) == IPv6Address("2001:db8::").packed
    assert made.IsPresent == 1 << 3 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 9 | 1 << 11


@pytest.mark.parametrize(
    ("fields", "fine"),
    [
        ({}, True),
        ({"ports": (443, 0)}, True),
        ({"ports": (80, 0)}, False),
        ({"transport_protocol": 6}, True),
        ({"transport_protocol": 17}, False),
        ({"vlan_id": 3}, False),
        ({"ether_type": 0x0800}, True),
        ({"ether_type": 0x86DD}, False),
        ({"addresses": (IPv4Address("192.0.2.1"), IPv4Address(0))}, True),
        ({"addresses": (IPv4Address("192.0.2.2"), IPv4Address(0))}, False),
        ({"macs": (b"\1" * 6, bytes(6))}, False),
        ({"tcp_flags": 2}, False),
    ],
)
def test_a_filter_that_the_driver_tells_is_compared_with_what_was_asked(fields: dict[str, Any], fine: bool) -> None:
    asked = Constraint(0x0800, nets=((4, 0xC0000201, 32),), protocol=6, ports=(443,))
    empty = Filter(1, "", (bytes(6), bytes(6)), 0, 0, (IPv4Address(0), IPv4Address(0)), 0, (0, 0), 0)
    assert no_stricter(replace(empty, **fields), asked) == fine


# ---- pushed into the driver ----


@pytest.fixture
def windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PktMonWindows:
    need_native_core()
    monkeypatch.setattr("etwcap.taps.etw_source._QUIET", 0.01)
    made = PktMonWindows(tmp_path)
    made.wifi = False
    return made


def of_filters(windows: PktMonWindows) -> list[str]:
    return [each for each in commands(windows) if each.startswith("filter")]


def test_the_driver_is_told_before_it_starts_and_forgets_it_at_the_end(windows: PktMonWindows) -> None:
    source = opened(windows, filter="udp port 53 or arp")
    assert list(windows.filters) == [f"etwcap-{ME.pid}-{ME.created}-{n}" for n in (1, 2)]
    captured(windows, source)
    assert of_filters(windows) == [
        "filter add ETWCAP-1 -t UDP -p 53",
        "filter add ETWCAP-2 -d ARP",
        "filter remove",
    ]
    assert windows.filters == {}
    assert windows.clean() == []


def test_filters_of_somebody_else_stay_and_nothing_is_added(windows: PktMonWindows) -> None:
    windows.loaded = True
    windows.add_filter("theirs", transport_protocol=17)
    captured(windows, opened(windows, filter="tcp port 443"))
    assert list(windows.filters) == ["theirs"]
    assert of_filters(windows) == []
    assert "filters that somebody set in PktMon hold" in windows.told[0]
    assert "theirs -t UDP" in windows.told[0]


@pytest.mark.parametrize("why", ["wifi", "no rundown", "nothing to tell"])
def test_nothing_is_told_where_it_might_lose_a_packet(
    windows: PktMonWindows, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    monkeypatch.setattr("etwcap.taps.pktmon_capture.PATIENCE", 0.3)
    windows.wifi = why == "wifi"
    windows.rundown_comes = why != "no rundown"
    captured(windows, opened(windows, filter="not tcp" if why == "nothing to tell" else "tcp"))
    assert of_filters(windows) == []


def test_a_filter_that_is_refused_leaves_every_packet(windows: PktMonWindows) -> None:
    windows.knows_syntax = lambda words: "-d" not in words
    source = opened(windows, filter="udp port 53 or arp")
    assert windows.filters == {}
    assert "every packet comes here" in windows.told[-1]
    captured(windows, source)
    assert windows.clean() == []


@pytest.mark.parametrize("way", ["exports", "device"])
def test_what_an_undocumented_way_was_told_is_read_back(windows: PktMonWindows, way: str) -> None:
    windows.has_exe, windows.has_legacy = False, way == "exports"
    source = opened(windows, filter="tcp port 443")
    assert len(windows.filters) == 1
    captured(windows, source)
    assert windows.clean() == []


@pytest.mark.parametrize("way", ["exports", "device"])
def test_a_filter_that_was_understood_differently_is_taken_back(windows: PktMonWindows, way: str) -> None:
    windows.has_exe, windows.has_legacy = False, way == "exports"
    windows.misunderstands = True
    source = opened(windows, filter="tcp port 443")
    assert windows.filters == {}
    assert any("understood the filter differently" in each for each in windows.told)
    captured(windows, source)
    assert windows.clean() == []


def test_the_api_has_filters_of_its_own(windows: PktMonWindows) -> None:
    windows.has_api = True
    captured(windows, opened(windows, filter="tcp port 443", pktmon_api=True))
    (made,) = windows.api.constraints
    assert (made.TransportProtocol, made.Port1) == (6, 443)
    assert windows.filters == {}


def test_the_drivers_filters_are_read_as_it_tells_them() -> None:
    tree = ComponentTree()
    windows = PktMonWindows.__new__(PktMonWindows)
    windows.filters, windows.misunderstands = {}, False
    windows.add_filter("one", transport_protocol=6, port1=443)
    assert tree.learn(EventId.FILTER_IPV4, windows.filters["one"])
    assert no_stricter(tree.filters[1], Constraint(protocol=6, ports=(443,)))
