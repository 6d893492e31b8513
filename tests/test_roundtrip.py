"""Capture -> synth -> convert gives back what went in; what it loses is said. ``scripts/roundtrip`` does it in full."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etwcap.native import use_backend
from etwcap.synth.options import SynthOptions
from made_captures import START, capture
from pcapng_build import pcap
from roundtrip import (
    FACTORS,
    expected,
    fitting,
    in_window,
    longest,
    loss_free,
    lossless,
    named,
    options_of,
    packets_of,
    pairwise,
    possible,
    trip,
)

ROWS = loss_free()
CAPTURES = (3, 4, 11, 25)
"""Made-up captures of several interfaces, of radiotap, out of order, of bare IP."""


@pytest.mark.parametrize("options", ROWS, ids=named)
def test_every_pair_of_loss_free_options_gives_back_the_packets(options: SynthOptions, tmp_path: Path) -> None:
    path = tmp_path / "capture"
    number = CAPTURES[ROWS.index(options) % len(CAPTURES)]
    path.write_bytes(capture(number, packets=60))
    assert lossless(path, tmp_path, fitting(options, longest(path))) == ""


@pytest.mark.parametrize("tap", ["ndiscap", "pktmon", "vmswitch", "wfp", "ras"])
def test_both_cores_write_the_same_trace_and_give_back_the_packets(tap: str, tmp_path: Path, both_cores: None) -> None:
    path = tmp_path / "capture"
    path.write_bytes(capture(4, packets=50))
    written = []
    for backend in ("native", "twin"):
        with use_backend(backend):
            assert lossless(path, tmp_path, SynthOptions(tap=tap, processors=3, buffer_size=1 << 17)) == ""
            written.append((tmp_path / "trace.etl").read_bytes())
    assert written[0] == written[1]


rows = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in FACTORS.items()}).filter(possible)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(row=rows, number=st.integers(0, 10**6), packets=st.integers(1, 40))
def test_any_capture_with_any_loss_free_options_comes_back(
    row: dict[str, object], number: int, packets: int, tmp_path: Path
) -> None:
    path = tmp_path / "capture"
    path.write_bytes(capture(number, packets=packets))
    assert lossless(path, tmp_path, options_of(row)) == ""


frames = st.tuples(st.sampled_from([1, 101, 105]), st.lists(st.binary(max_size=80), min_size=1, max_size=12))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(link_and_frames=frames, tap=st.sampled_from(FACTORS["tap"]), fragments=st.sampled_from([1, 3]))
def test_packets_of_any_bytes_come_back(
    link_and_frames: tuple[int, list[bytes]], tap: str, fragments: int, tmp_path: Path
) -> None:
    link, datas = link_and_frames
    path = tmp_path / "capture"
    packets = [(1_700_000_000, 100 * number, data, len(data)) for number, data in enumerate(datas)]
    path.write_bytes(pcap("<", 0xA1B23C4D, link, *packets))
    split = fragments if tap in ("ndiscap", "vmswitch") else 1
    assert lossless(path, tmp_path, SynthOptions(tap=tap, fragments=split)) == ""


def test_the_rows_hold_every_pair_that_can_be(tmp_path: Path) -> None:
    found = pairwise({"one": (1, 2, 3), "two": ("a", "b"), "three": (True, False)}, lambda row: row["one"] < 3)
    pairs = {(row["one"], row["two"]) for row in found}
    assert pairs == {(one, two) for one in (1, 2) for two in "ab"}
    assert {(row["two"], row["three"]) for row in found} == {(two, three) for two in "ab" for three in (True, False)}


def write(path: Path, *packets: tuple[int, bytes]) -> Path:
    """An Ethernet capture of (time in ns, frame)."""
    rows = [(time // 10**9, time % 10**9, data, len(data)) for time, data in packets]
    path.write_bytes(pcap("<", 0xA1B23C4D, 1, *rows))
    return path


def test_a_packet_far_out_of_order_gets_the_time_before_it_and_is_counted(tmp_path: Path) -> None:
    frames = [(START + 10**10 * number, number.to_bytes(4, "big") * 4) for number in range(1, 33_001)]
    path = write(tmp_path / "capture.pcap", *frames, (START, b"late" * 4))
    assert not in_window(packets_of(path))
    done = trip(path, tmp_path, SynthOptions(tap="ndiscap"))
    assert done.notes["times"] == 1
    assert sorted(each.data for each in done.back) == sorted([b"late" * 4, *(data for _, data in frames)])
    assert [each.time for each in done.back] == sorted(each.time for each in done.back)
    assert next(each.time for each in done.back if each.data == b"late" * 4) > START + 10**14


def test_a_coarse_clock_rounds_times_up_to_its_next_tick(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    path.write_bytes(capture(11, packets=80))
    wanted = expected(packets_of(path), "ndiscap")
    got = trip(path, tmp_path, SynthOptions(tap="ndiscap", frequency=3_579_545, processors=4)).back
    assert [each._replace(time=0, direction=0) for each in got] == [
        each._replace(time=0, direction=0) for each in wanted
    ]
    tick = 10**9 / 3_579_545
    assert all(0 <= each.time - packet.time <= tick for each, packet in zip(got, wanted, strict=True))
    assert any(each.time != packet.time for each, packet in zip(got, wanted, strict=True))


def test_lengths_are_kept_by_pktmon_and_their_loss_is_counted_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "cut.pcap"
    path.write_bytes(pcap("<", 0xA1B23C4D, 1, *((1_700_000_000, each, bytes(60), 60 + each) for each in range(5))))
    told = trip(path, tmp_path, SynthOptions(tap="pktmon"))
    assert [each.original for each in told.back] == [60, 61, 62, 63, 64]
    assert "original-length" not in told.notes
    for tap in ("ndiscap", "vmswitch", "ras"):
        done = trip(path, tmp_path, SynthOptions(tap=tap))
        assert done.notes["original-length"] == 4
        assert {each.original for each in done.back} == {60}


@pytest.mark.parametrize("tap", ["ndiscap", "pktmon", "vmswitch"])
def test_truncation_cuts_the_bytes_and_no_others(tap: str, tmp_path: Path) -> None:
    path = tmp_path / "capture"
    path.write_bytes(capture(25, packets=80))
    wanted = expected(packets_of(path), tap)
    done = trip(path, tmp_path, SynthOptions(tap=tap, truncate=64, appearances=1))
    assert [each.data for each in done.back] == [each.data[:64] for each in wanted]
    assert done.notes.get("truncated", 0) == sum(len(each.data) > 64 for each in wanted)


def test_a_frame_that_no_event_can_hold_is_cut_and_counted_but_not_in_fragments(tmp_path: Path) -> None:
    path = write(tmp_path / "jumbo.pcap", (START, bytes(range(256)) * 32))
    small = SynthOptions(tap="ndiscap", buffer_size=4096)
    done = trip(path, tmp_path, small)
    assert done.notes["too-long"] == 1
    assert len(done.back[0].data) < 4096
    assert done.back[0].data == (bytes(range(256)) * 32)[: len(done.back[0].data)]
    whole = trip(path, tmp_path, SynthOptions(tap="ndiscap", buffer_size=4096, fragments=2))
    assert [each.data for each in whole.back] == [bytes(range(256)) * 32]
