"""How much is read of each whole file of tests/data/bad, and where its damage is said to be."""

from __future__ import annotations

from pathlib import Path

import pytest

import etwcap
from conftest import CHECKOUT

BAD = CHECKOUT / "tests" / "data" / "bad"
WHOLE = 24
"""packets of the traces before they were broken"""


@pytest.mark.parametrize(
    ("name", "packets", "place"),
    [
        ("record-size-zero.etl", WHOLE - 1, 4096),
        ("record-size-zero-and-a-time.etl", WHOLE - 1, 4096),
        ("record-size-ends-with-another.etl", WHOLE - 1, 4096),
        ("compressed-buffer-size-one-more.etl", WHOLE, 1024),
        ("buffer-header-zeroed.etl", WHOLE, 4096),
        ("first-buffer-zeroed.etl", WHOLE, 0),
        ("buffer-twice.etl", WHOLE, 3226),
        ("cut-between-buffers.etl", 0, 1024),
        ("cut-in-unused-room.etl", 0, 4088),
        ("captured-length-one-more.pcap", 11, 0),
        ("record-and-stream-broken.etl", 0, 1026),
        ("record-and-stream-broken-sooner.etl", 0, 1024),
    ],
)
def test_all_that_is_intact_is_read_and_the_damage_has_its_place(
    tmp_path: Path, backend: str, name: str, packets: int, place: int
) -> None:
    outcome = etwcap.convert([BAD / name], tmp_path / "out.pcapng")
    assert outcome.exit_code == 4
    assert outcome.receipt.packets_written == packets
    assert any(place <= damage.offset < place + 4096 for damage in outcome.descriptions[0].damage)


@pytest.mark.parametrize(
    ("name", "place"), [("record-and-stream-broken.etl", 1026), ("record-and-stream-broken-sooner.etl", 1024)]
)
def test_a_record_and_the_stream_behind_it_broken_are_one_loss(
    tmp_path: Path, backend: str, name: str, place: int
) -> None:
    outcome = etwcap.convert([BAD / name], tmp_path / "out.pcapng")
    [damage] = (damage for damage in outcome.descriptions[0].damage if damage.offset == place)
    assert damage.lost_bytes == 46648
    assert damage.what.startswith("no record where one should begin")
