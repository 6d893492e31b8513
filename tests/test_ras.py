"""Frames of Windows' own tunnels: Ethernet, one interface for each routing domain and user."""

from __future__ import annotations

import struct
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etwcap.packets import Context
from etwcap.providers import ras_build as build
from etwcap.providers.ras import RasProvider
from etwcap.providers.ras_layout import EventId
from event_feed import START, Feed, chunk, decode, facts, frames

FRAME = bytes(range(60))
DOMAIN = uuid.UUID("2f07e2ee-15db-40f1-90ef-9d7ba282188a")


def add(
    feed: Feed, frame: bytes = FRAME, *, sent: bool = True, user: str = "", domain: uuid.UUID = uuid.UUID(int=0),  # noqa: B008
    time: int = 0,
) -> None:  # fmt: skip
    payload = build.build_packet_event(frame, domain=domain, user=user)
    feed.add(build.packet_event_id(sent=sent), payload, time=time, keyword=build.packet_keyword(sent=sent))


def test_each_domain_and_user_is_an_interface(backend: str) -> None:
    feed, context = Feed(), Context()
    add(feed, user="CONTOSO\\ann", domain=DOMAIN)
    add(feed, b"second", sent=False, user="bob", time=1)
    add(feed, time=2)
    add(feed, user="CONTOSO\\ann", domain=DOMAIN, time=3)
    buffer, packets = decode(RasProvider(context, facts()), feed)
    assert frames(chunk(buffer, packets)) == [FRAME, b"second", FRAME, FRAME]
    assert packets["direction"].tolist() == [2, 1, 2, 2]
    assert packets["time"].tolist() == [START, START + 1, START + 2, START + 3]
    assert [context.interfaces[number].name for number in packets["interface"]] == [
        f"RAS: CONTOSO\\ann (routing domain {DOMAIN})",
        "RAS: bob",
        "RAS",
        f"RAS: CONTOSO\\ann (routing domain {DOMAIN})",
    ]
    assert [interface.reports for interface in context.interfaces] == [2, 1, 1]
    assert {interface.link_type for interface in context.interfaces} == {1}


def test_users_without_end_do_not_make_interfaces_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etwcap.providers.ras.MOST_INTERFACES", 2)
    feed, context = Feed(), Context()
    for user in ("a", "b", "c", "d", "a"):
        add(feed, user=user)
    _, packets = decode(RasProvider(context, facts()), feed)
    assert [context.interfaces[number].name for number in packets["interface"]] == [
        "RAS: a", "RAS: b", "RAS: further users", "RAS: further users", "RAS: a",
    ]  # fmt: skip


def test_events_that_do_not_fit_are_damage(backend: str) -> None:
    good = build.build_packet_event(FRAME, user="ann")
    texts = len(good) - len(FRAME) - 4
    bad = [b"", good[:-1], good[: texts - 1], good[: texts + 3], good[:texts] + struct.pack("<I", 0xFFFFFFFF) + FRAME]
    feed, known = Feed(), facts()
    for payload in [*bad, good]:
        feed.add(EventId.SENT, payload)
    buffer, packets = decode(RasProvider(Context(), known), feed)
    assert frames(chunk(buffer, packets)) == [FRAME]
    assert known.description.damage_count == len(bad)


def test_other_events_are_no_packets() -> None:
    feed = Feed()
    feed.add(5003, b"x\0\0\0")
    assert not RasProvider(Context(), facts()).packet_rows(feed.records).any()


@given(st.lists(st.binary(max_size=80), max_size=6))
def test_any_bytes_give_rows_inside_the_buffer(payloads: list[bytes]) -> None:
    feed, known = Feed(), facts()
    for payload in payloads:
        feed.add(EventId.RECEIVED, payload)
    buffer, packets = decode(RasProvider(Context(), known), feed)
    assert (packets["offset"] + packets["captured"] <= buffer.size).all()
    assert len(packets) + known.description.damage_count == len(payloads)
