"""Makes the inputs that fuzzing starts from: ``python fuzz/make_seeds.py`` rewrites fuzz/seeds.

A seed is what a target takes: one byte (capfile: two; headers: link type and room) that chooses how it is read, then
the file or packet; for ``convert`` the file itself; for targets that cut their input into numbers, any numbers.
"""

from __future__ import annotations

import dataclasses
import random
import sys
import tempfile
import uuid
from pathlib import Path

from etwcap.etl import build
from etwcap.etl.writer import EtlWriter, LogfileSettings
from etwcap.native.xpress_encode import xpress_encode
from etwcap.synth.options import SynthOptions
from etwcap.synth.run import synthesize

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

import header_frames  # noqa: E402
import pcapng_build  # noqa: E402

PROVIDER = uuid.UUID("4d4f80d9-c8bd-4d73-bb5b-19c90402c5ac")


def etl_seeds() -> dict[str, bytes]:
    kinds = {
        "plain": LogfileSettings(processors=2, buffer_size=1024),
        "relogged": LogfileSettings(processors=2, buffer_size=1024, relogged=True),
        "compressed": LogfileSettings(processors=2, buffer_size=2048, relogged=True, compressed=True),
        "unclosed": LogfileSettings(processors=1, buffer_size=1024, closed=False),
        "system-time": LogfileSettings(processors=1, buffer_size=1024, clock_type=2, one_stream=True),
    }
    return {name: bytes([number]) + etl_file(settings) for number, (name, settings) in enumerate(kinds.items())}


def etl_file(settings: LogfileSettings) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seed.etl"
        with EtlWriter(path, dataclasses.replace(settings, log_file_name="s.etl")) as writer:
            for number, record in enumerate(every_kind(settings.first_stamp)):
                writer.add(number % settings.processors, record)
        return path.read_bytes()


def every_kind(stamp: int) -> list[bytes]:
    """A record of every header, at times that rise."""
    times = iter(range(stamp, stamp + 1000, 10))
    return [
        build.event_record(PROVIDER, 160, b"payload" * 3, time=next(times)),
        build.event_record(PROVIDER, 170, b"", time=next(times), extended=[(11, b"\x08\x00\x00event\x00\x00")]),
        build.event_record(PROVIDER, 1, b"x", time=next(times), pointer_size=4),
        build.full_header_record(PROVIDER, 32, b"classic", time=next(times)),
        build.instance_record(PROVIDER, 1, b"", time=next(times)),
        build.system_record(0x0B01, b"system", time=next(times)),
        build.compact_record(0x0050, b"", time=next(times)),
        build.perfinfo_record(0x0F2E, b"perf", time=next(times), counters=[1, 2]),
        build.message_record(10, b"message", guid=PROVIDER, sequence=1, time=next(times), owner=(4, 8)),
        build.error_record(b"error"),
    ]


def capfile_seeds() -> dict[str, bytes]:
    data = bytes(range(40))
    seeds = {}
    for order, bits in (("<", 0), (">", 2)):
        blocks = (
            pcapng_build.packet(order, 0, 1, data)
            + pcapng_build.packet(order, 1, 2**63, data, (2, b"\0\0\0\1"), (1, b"text"), original=1500)
            + pcapng_build.old_packet(order, 2, 3, data)
            + pcapng_build.simple_packet(order, data, 1500)
        )
        name = {"<": "little", ">": "big"}[order]
        seeds[f"pcapng-{name}"] = bytes([bits, 0x8A]) + blocks
        pcap = pcapng_build.pcap(order, 0xA1B2C3D4, 1, (1, 2, data, 40), (3, 4, data, 1500))
        seeds[f"pcap-{name}"] = bytes([bits | 1, 6]) + pcap[24:]
    return seeds


def xpress_seeds() -> dict[str, bytes]:
    text = b"the packet at many points of the stack, " * 40
    return {"text": b"\x20" + xpress_encode(text), "zeros": b"\x80" + xpress_encode(bytes(9000))}


def headers_seeds() -> dict[str, bytes]:
    made = [header_frames.neighbor_question(), header_frames.router_advertisement(), header_frames.listener_report()]
    made += [header_frames.unreachable(), header_frames.redirect(), header_frames.dhcp_answer()]
    made += [
        header_frames.recorded_route(),
        header_frames.routed6(),
        *header_frames.tunnels(),
        *header_frames.framings(),
    ]
    packets = [(1, frame) for frame in made] + [(105, frame) for frame in header_frames.wifi_frames()]
    packets.append((252, header_frames.upper_pdu()))
    return {f"{number:02d}": link.to_bytes(2, "big") + b"\xff" + data for number, (link, data) in enumerate(packets)}


def frames() -> list[tuple[int, bytes]]:
    """Link type and bytes of one packet of every framing."""
    made = [header_frames.neighbor_question(), header_frames.unreachable(), header_frames.dhcp_answer()]
    made += [*header_frames.framings(), *header_frames.tunnels()]
    return [(1, each) for each in made] + [(105, each) for each in header_frames.wifi_frames()]


def packetkeys_seeds() -> dict[str, bytes]:
    number = {1: 0, 105: 2}  # of the link type in the target's table
    return {
        f"{place:02d}": bytes([number[link], 8 + len(data) % 100, 8]) + data
        for place, (link, data) in enumerate(frames())
    }


def wifi_seeds() -> dict[str, bytes]:
    return {f"{number:02d}": b"\x01\x01" + data for number, data in enumerate(header_frames.wifi_frames())}


def numbers(*sizes: int) -> dict[str, bytes]:
    """Inputs for targets that make of any numbers what they need."""
    return {str(size): random.Random(size).randbytes(size) for size in sizes}


def small_capture(links: tuple[int, ...]) -> bytes:
    """A pcapng file with one packet of every framing of these link types."""
    chosen = [(link, data) for link, data in frames() if link in links]
    faces = b"".join(pcapng_build.interface("<", link, (9, b"\x09")) for link in links)
    start = 1_700_000_000_000_000_000
    packets = (
        pcapng_build.packet("<", links.index(link), start + number * 1_000_000, data)
        for number, (link, data) in enumerate(chosen)
    )
    return pcapng_build.section("<") + faces + b"".join(packets)


def convert_seeds() -> dict[str, bytes]:
    made: dict[str, bytes] = {}
    traces = {
        "pktmon": SynthOptions(tap="pktmon", appearances=3, drop_rate=0.5),
        "pktmon-plain": SynthOptions(tap="pktmon", buffer_size=4096, compress=False, relogged=False, processors=2),
        "pktmon-1809": SynthOptions(tap="pktmon", os_build=17763, drop_rate=0.5),
        "ndiscap": SynthOptions(tap="ndiscap", buffer_size=4096, appearances=2, lso=True, offload=True),
        "ndiscap-packed": SynthOptions(tap="ndiscap", compress=True, relogged=True, processors=2),
        "ndiscap-7": SynthOptions(tap="ndiscap", buffer_size=4096, os_build=7601, fragments=3, pointer_size=4),
        "ndiscap-crash": SynthOptions(tap="ndiscap", buffer_size=4096, unclosed=True, clock=2),
        "ndiscap-cycles": SynthOptions(tap="ndiscap", compress=True, clock=3, frequency=2_400_000_000),
        "vmswitch": SynthOptions(tap="vmswitch", buffer_size=4096),
        "wfp": SynthOptions(tap="wfp", buffer_size=4096),
        "ras": SynthOptions(tap="ras", buffer_size=4096),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, options in traces.items():
            capture, trace = Path(folder) / "in.pcapng", Path(folder) / "seed.etl"
            capture.write_bytes(small_capture((1, 105) if options.tap in ("pktmon", "ndiscap") else (1,)))
            synthesize(capture, trace, options)
            made[name] = trace.read_bytes()
    data = bytes(range(40))
    made["pcapng"] = small_capture((1, 105))
    for order, name in (("<", "little"), (">", "big")):
        made[f"pcap-{name}"] = pcapng_build.pcap(order, 0xA1B23C4D, 1, (1, 2, data, 40), (3, 4, data, 1500))
        made[f"pcapng-{name}"] = (
            pcapng_build.section(order, (2, b"machine"))
            + pcapng_build.interface(order, 1, (2, b"Ethernet"), (9, b"\x06"), snap=96)
            + pcapng_build.packet(order, 0, 1, data, (2, pcapng_number(order, 1)), (1, b"text"), original=1500)
            + pcapng_build.old_packet(order, 0, 3, data)
            + pcapng_build.simple_packet(order, data, 1500)
            + pcapng_build.block(order, 0x0BAD, b"custom..")
        )
    return made


def pcapng_number(order: str, number: int) -> bytes:
    return number.to_bytes(4, "little" if order == "<" else "big")


NUMBERS = (
    "anonymize", "blocks", "etw_receiver", "filter", "ipv6_rebuild", "merge", "order", "pktmon_stream",
    "raw_record", "ring", "sightings",
)  # fmt: skip


def main() -> None:
    targets = {
        "etl": etl_seeds(),
        "capfile": capfile_seeds(),
        "headers": headers_seeds(),
        "xpress": xpress_seeds(),
        "packetkeys": packetkeys_seeds(),
        "wifi": wifi_seeds(),
        "convert": convert_seeds(),
        **{name: numbers(100, 400, 1600) for name in NUMBERS},
    }
    for target, seeds in targets.items():
        folder = HERE / "seeds" / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in seeds.items():
            (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
