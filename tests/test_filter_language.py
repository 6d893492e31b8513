"""What a filter expression means, and what is said about one that means nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from etwcap.errors import UsageError
from etwcap.filters.compiled import Filter
from etwcap.filters.names import NOT_SUPPORTED, SERVICES, WORDS
from etwcap.filters.parser import parse
from etwcap.filters.reader import DEEPEST
from etwcap.filters.tree import Not, OfProcess, OnInterface, drawn
from etwcap.filters.words import LONGEST, FilterError
from filter_packets import Expressions


def tree(expression: str) -> str:
    node = parse(expression)
    assert node is not None
    return "; ".join(line.strip() for line in drawn(node))


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("tcp dst port ftp or ftp-data or domain", "tcp dst port 21 or tcp dst port 20 or tcp dst port 53"),
        ("not host 192.0.2.1 and 192.0.2.2", "not host 192.0.2.1 and host 192.0.2.2"),
        ("port 80 or not 443", "port 80 or not port 443"),
        ("port (80 or 443)", "port 80 or port 443"),
        ("host 192.0.2.1 and (192.0.2.2 or 192.0.2.3)", "host 192.0.2.1 and (host 192.0.2.2 or host 192.0.2.3)"),
        ("src or dst port 80", "port 80"),
        ("dst and src port 80", "src and dst port 80"),
        ("net 10", "net 10.0.0.0/8"),
        ("net 10.1", "net 10.1.0.0 mask 255.255.0.0"),
        ("tcp && !udp || arp", "(tcp and not udp) or arp"),
        ("portrange 443-80", "portrange 80-443"),
        ("port 0x1bb", "port 443"),
        ("port 0673", "port 443"),
        ("inbound and not outbound", "in and not out"),
        ("icmp[icmptype] == icmp-echo", "icmp[0] = 8"),
        ("tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", "tcp[13:1] & (2 | 1) != 0"),
        ("ether[0] & 1 != 0", "link[0] & 1 != 0"),
        ("ether host 02-5A-00-00-00-10", "ether host 025a.0000.0010"),
        ("ip proto \\tcp", "ip proto 6"),
        ("port http", "tcp port 80"),
    ],
)
def test_a_short_form_means_the_full_one(short: str, full: str) -> None:
    assert tree(short) == tree(full)


def test_less_and_greater_include_the_length() -> None:
    assert (tree("less 100"), tree("greater 100")) == ("len <= 100", "len >= 100")


def test_and_and_or_bind_alike_from_left_to_right() -> None:
    assert tree("tcp or udp and arp") == tree("(tcp or udp) and arp")
    assert tree("tcp and udp or arp") == tree("(tcp and udp) or arp")


@pytest.mark.parametrize(
    ("expression", "column", "said", "hint"),
    [
        ("tcp prot 443", 5, "and, or or the end is expected here", "did you mean proto or port?"),
        ("tpc", 1, "'tpc' is no word of the filter language", "did you mean tcp"),
        ("tcp port htps", 10, "'htps' is no port", "did you mean https"),
        ("host www.example.com", 6, "'www.example.com' is no address", "names are not looked up"),
        ("host", 5, "a value for host is expected here", ""),
        ("(tcp", 5, "a closing parenthesis is missing", ""),
        ("tcp or 443", 8, "a value needs a qualifier here", "port 80"),
        ("192.0.2.1", 1, "an address needs a word before it", "host 192.0.2.1"),
        ("ether host 192.0.2.1", 12, "ether needs a MAC address", ""),
        ("host 02:00:00:00:00:01", 6, "a MAC address needs ether before it", "ether host 02:00:00:00:00:01"),
        ("tcp host 192.0.2.1", 10, "tcp has no addresses", ""),
        ("ip port 80", 9, "ip has no ports", ""),
        ("udp port ssh", 10, "ssh is no service of udp", "udp port 22"),
        ("host 192.0.2.0/24", 15, "only net takes a prefix", "net 192.0.2.0"),
        ("net 192.0.2.1/24", 5, "the address has bits that the mask leaves out", ""),
        ("net 192.0.2.0/33", 15, "a prefix length from 0 to 32 is expected here", ""),
        ("net 2001:db8::1/32", 5, "the address has bits that the prefix leaves out", ""),
        ("port 65536", 6, "65536 is no port", ""),
        ("vlan 4096", 6, "a VLAN id from 0 to 4095", ""),
        ("ip[0:3] = 1", 6, "a size of 1, 2 or 4", ""),
        ("ip[0] / 0 = 1", 7, "division by zero", ""),
        ("1 << 32 = 1", 3, "a shift by more than 31 bits", ""),
        ("ip[0]", 6, "a comparison is expected here", ""),
        ("len = 4294967296", 7, "4294967296 does not fit 32 bits", ""),
        ("ip broadcast", 4, "ip broadcast needs the netmask", "ether broadcast"),
        ("process chrome", 1, "who owns a packet is not known yet", "pid NUMBER"),
        ("tcp and @", 9, "'@' does not belong here", ""),
        ("host 300.1.1.1", 6, "300.1.1.1 is no IPv4 address", ""),
        ("src proto 6", 11, "src and dst do not go with proto", ""),
        ("tcp 80", 5, "a value cannot follow tcp alone", "tcp port 80"),
    ],
)
def test_an_error_points_at_the_wrong_word_and_helps(expression: str, column: int, said: str, hint: str) -> None:
    with pytest.raises(FilterError) as caught:
        Filter(expression)
    error = caught.value
    assert error.position == column - 1
    assert error.cause.startswith(f"column {column}: ")
    assert said in error.what
    assert hint in error.hint


@pytest.mark.parametrize("word", NOT_SUPPORTED)
def test_words_of_libpcap_that_are_not_supported_say_so(word: str) -> None:
    with pytest.raises(FilterError) as caught:
        Filter(f"{word} 1")
    assert "not supported" in caught.value.what
    assert caught.value.hint == NOT_SUPPORTED[word]


def test_our_own_words() -> None:
    assert parse('if "Ethernet 2"') == OnInterface("Ethernet 2")
    assert parse("not pid 4") == Not(OfProcess(4))


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_a_port(name: str) -> None:
    assert tree(f"port {name}").endswith(f"port {SERVICES[name][0]}")


def test_an_empty_expression_lets_everything_through() -> None:
    assert parse("  ") is None
    assert Filter("").explained() == ["every packet"]


def test_endless_nesting_is_an_error_and_no_crash() -> None:
    for expression in (
        "(" * 5000 + "tcp" + ")" * 5000,
        "not " * 5000 + "tcp",
        "-" * 5000 + "1 = 1",
        "tcp or udp and " * 2000 + "ip",
        "1" + "+1" * 5000 + " = 5",
        "port (" * 3000,
        "1" + "^1" * 5000 + " = 1",
        "x" * (LONGEST + 1),
    ):
        with pytest.raises(UsageError):
            Filter(expression).program(1)


def test_long_chains_and_deep_but_sane_nesting_work() -> None:
    chain = " or ".join(f"host 192.0.2.{n % 256}" for n in range(3000))
    assert len(Filter(chain).program(1)) > 3000
    assert len(Filter("(" * (DEEPEST - 2) + "tcp" + ")" * (DEEPEST - 2)).program(1)) > 3


@given(st.lists(st.sampled_from([*WORDS, "(", ")", "[", "]", ":", "&", "=", "/", "80", "192.0.2.1", "::1", "-"])))
def test_any_words_give_a_program_or_a_clear_error(words: list[str]) -> None:
    told = ["column 1"]
    try:
        Filter(" ".join(words)).explained((1, 101, 105, 127, 252))
    except FilterError as error:
        told = [error.cause, error.what]
    assert told[0].startswith("column ")
    assert not any("\n" in line for line in told)


@given(st.text())
def test_any_text_gives_a_program_or_a_clear_error(text: str) -> None:
    lines = []
    try:
        lines = Filter(text).explained()
    except UsageError as error:
        lines = error.lines()
    assert lines


@given(st.integers(0, 1 << 32))
def test_the_tree_says_what_was_asked(seed: int) -> None:
    """Each line of a drawn tree is an expression that means the same."""
    try:
        node = parse(Expressions(seed).primitive())
    except UsageError:  # a division by 0, a shift by more than 31 bits
        reject()
    assert node is not None
    for line in drawn(node):
        if line.strip() not in ("and", "or", "not"):
            assert [each.strip() for each in drawn(parse(line) or node)] == [line.strip()]
