"""The whole path: a file's bytes through convert, info and the events, with the native core and with its twin.

``fuzz/run SECONDS convert`` fuzzes, ``fuzz/run --file FILE convert`` runs one file. What is claimed of every file:

* no exception but an EtwcapError, no warning;
* an output that is whole and that etwcap reads back packet for packet, or none;
* the native core and the twin write the same bytes, tell the same, or fail alike;
* no step takes more than PEAK bytes of memory; libFuzzer's timeout bounds the time.

The input is the file itself. It is converted with the default options; its checksum decides whether it is then
converted with other ones or shown. Where atheris is installed, coverage of the Python code guides the search (that of
the twin stands for the core's); else the known inputs are changed at random.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

try:
    import atheris
except ImportError:
    atheris = None

FUZZING = __name__ == "__main__" and not (len(sys.argv) == 2 and Path(sys.argv[1]).is_file())
with atheris.instrument_imports(include=["etwcap"]) if atheris and FUZZING else contextlib.nullcontext():
    import etwcap
    import etwcap.inspect.as_json
    import etwcap.inspect.info
    import etwcap.inspect.render
    import etwcap.pipeline.convert
    import etwcap.pipeline.trace
    import etwcap.sources.etl
    from etwcap.native import library, use_backend

PEAK = 200 << 20
LONGEST = 1 << 16
SHOWN = 200
TIMEOUT = 10
OPTIONS = (
    etwcap.ConvertOptions(appearances="all", repair="none", evidence=("comments",)),
    etwcap.ConvertOptions(ethernet=True, strip_payload=True, anonymize=b"a key of 16 bytes"),
    etwcap.ConvertOptions(format="pcap", ethernet=True, interfaces=("1", "Ethernet")),
    etwcap.ConvertOptions(filter="ip6 or (tcp and greater 60) or udp port 53 or wlan type mgt", snap_length=96),
    etwcap.ConvertOptions(appearances="first", drops=False, radiotap=False, start="+1ms", count=5),
    etwcap.ConvertOptions(hash=True, end="-1ms", repair="all"),
)


class BrokenPromiseError(Exception):
    """A claim that does not hold."""


def claim(holds: bool, what: str) -> None:
    if not holds:
        raise BrokenPromiseError(what)


def blocks(data: bytes) -> int:
    """How many packets a pcapng file holds whose blocks must all be whole."""
    at = packets = 0
    while at < len(data):
        claim(len(data) - at >= 12, f"a block is cut at {at}")
        kind, size = struct.unpack_from("<II", data, at)
        claim(size % 4 == 0 and 12 <= size <= len(data) - at, f"the block at {at} has length {size}")
        claim(struct.unpack_from("<I", data, at + size - 4)[0] == size, f"the block at {at} has two lengths")
        packets += kind == 6
        at += size
    return packets


def check_output(path: Path, outcome: Any) -> bytes:
    """The output's bytes; none where no packet survived."""
    written = outcome.receipt.packets_written
    claim(outcome.exit_code in (0, 4), f"exit code {outcome.exit_code}")
    if outcome.output is None:
        claim(not path.exists() and written == 0, "an output that was not told of")
        return b""
    data = path.read_bytes()
    if outcome.format == "pcapng":
        claim(blocks(data) == written, "the output does not hold the packets that were told")
    with etwcap.open(path) as back:
        claim(sum(len(chunk.packets) for chunk in back.chunks()) == written, "not every packet can be read back")
        claim(not back.damage, "the output is damaged")
    return data


def converted(source: Path, output: Path, options: Any) -> tuple[str, bytes, Any]:
    """How a conversion ended, what it wrote, and what it noted."""
    output.unlink(missing_ok=True)
    try:
        outcome = etwcap.convert([source], output, options)
    except etwcap.EtwcapError as error:
        claim(not output.exists(), f"an output after {error}")
        claim(bool(error.what), "an error without words")
        return f"{type(error).__name__}: {error}", b"", None
    notes = {name: note.count for name, note in outcome.receipt.notes.items()}
    return f"exit {outcome.exit_code}", check_output(output, outcome), notes


def told(source: Path) -> str:
    """What info and the events say, as text."""
    try:
        info = etwcap.inspect.info.describe_trace(source)
        shown = etwcap.inspect.render.render(info, 100)
        claim(all(each.isprintable() or each == "\n" for each in shown), "info shows what is not printable")
        facts = etwcap.inspect.as_json.trace_info_dict(info)
        del facts["backend"]
        words = [shown, *(f"{name}: {value}" for name, value in facts.items())]
        with etwcap.open(source) as trace:
            words += [repr(event) for event in itertools.islice(trace.events(), SHOWN)]
            words += [repr(packet) for packet in itertools.islice(trace, SHOWN)]
    except etwcap.EtwcapError as error:
        return f"{type(error).__name__}: {error}"
    return "\n".join(words)


@contextlib.contextmanager
def bounded_memory() -> Iterator[None]:
    """Claims that the peak of resident memory rises by no more than PEAK (on Linux)."""
    before = _resident("VmRSS")
    if before:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    yield
    grown = _resident("VmHWM") - before
    claim(grown <= PEAK, f"{grown >> 20} MiB of memory")


def _resident(name: str) -> int:
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith(name)), 0)


def check(data: bytes, folder: Path) -> None:
    """Every claim for one file."""
    source, output = folder / "input", folder / "output"
    source.write_bytes(data)
    choice, show = divmod(zlib.crc32(data), 2)
    other = OPTIONS[choice % len(OPTIONS)]
    cores = ("native", "twin") if library() is not None else ("twin",)
    steps: list[tuple[str, Callable[[], Any]]] = [
        ("convert", lambda: converted(source, output, etwcap.ConvertOptions())),
        ("info", lambda: told(source)) if show else (f"convert with {other}", lambda: converted(source, output, other)),
    ]
    for name, step in steps:
        results = []
        for core in cores:
            with use_backend(core), bounded_memory(), warnings.catch_warnings():
                warnings.simplefilter("error")
                results.append(step())
        claim(results[0] == results[-1], f"{name}: the cores differ: {_difference(results[0], results[-1])}")


def _difference(one: Any, two: Any) -> str:
    if isinstance(one, str):
        for left, right in zip(one.splitlines(), two.splitlines(), strict=False):
            if left != right:
                same = next((at for at, pair in enumerate(zip(left, right, strict=False)) if len({*pair}) == 2), 0)
                at = max(same - 40, 0)
                return f"{left[at : at + 200]!r} and {right[at : at + 200]!r}"
        return f"{len(one)} and {len(two)} characters"
    return f"{one[0]}, {len(one[1])} bytes, {one[2]} and {two[0]}, {len(two[1])} bytes, {two[2]}"


def change(data: bytes, source: random.Random) -> bytes:
    """The bytes with some of them changed, doubled or taken away."""
    made = bytearray(data)
    for _ in range(source.choice((1, 1, 2, 4, 16))):
        at = source.randrange(len(made) + 1)
        size = min(source.choice((1, 2, 4, 8, 64, 1024)), len(made) - at)
        kind = source.randrange(6)
        if kind == 0:
            made[at : at + size] = source.randbytes(size)
        elif kind == 1:
            number = source.choice((0, 1, 0x7F, 0xFF, len(made) & 0xFF))
            made[at : at + size] = bytes([number]) * size
        elif kind == 2:
            del made[at : at + size]
        elif kind == 3:
            made[at:at] = made[at : at + size]
        elif kind == 4:
            other = source.randrange(len(made) + 1)
            made[at : at + size] = made[other : other + size]
        elif size:
            made[at] ^= 1 << source.randrange(8)
    return bytes(made[:LONGEST])


def search_at_random(run: Callable[[bytes], None], words: list[str]) -> NoReturn:
    """What libFuzzer does, without coverage: its options -max_total_time and -artifact_prefix are understood."""
    options = dict(word[1:].split("=", 1) for word in words if word.startswith("-") and "=" in word)
    folders = [Path(word) for word in words if not word.startswith("-")]
    known = [path.read_bytes() for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    known = [data for data in known if len(data) <= LONGEST] or [b""]
    end = time.monotonic() + float(options.get("max_total_time", "20"))
    source = random.Random(int(options.get("seed", time.time_ns() % (1 << 32))))
    runs = 0
    print("fuzz: atheris is not installed: known inputs are changed at random", flush=True)
    while runs < len(known) or time.monotonic() < end:
        data = known[runs] if runs < len(known) else change(source.choice(known), source)
        signal.alarm(TIMEOUT)
        try:
            run(data)
        except BaseException:
            Path(f"{options.get('artifact_prefix', '')}crash-{zlib.crc32(data):08x}").write_bytes(data)
            traceback.print_exc()
            raise SystemExit(77) from None
        finally:
            signal.alarm(0)
        runs += 1
    print(f"stat::number_of_executed_units: {runs}")
    raise SystemExit(0)


def main() -> None:
    room = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(prefix="etwcap-fuzz-", dir=room) as name:
        folder = Path(name)
        if not FUZZING:
            check(Path(sys.argv[1]).read_bytes(), folder)
            print("every claim holds")
        elif atheris is None:
            search_at_random(lambda data: check(data, folder), sys.argv[1:])
        else:
            atheris.Setup(sys.argv, lambda data: check(data, folder))
            atheris.Fuzz()


if __name__ == "__main__":
    main()
