"""Whatever ends a run: never half a file under the final name, never a damaged input, and the right exit code."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from command_line import etwcap, etwcap_process
from conftest import missing
from traces import pktmon_trace

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="signals and FIFOs of POSIX")

HOSTILE = "\x1b]0;owned\x07\x9b31m\u202egnp.exe\r\n=cmd|' /C calc'!A0<script>alert(1)</script>"
"""A name that would set a terminal's title, colour and direction, begin a formula in a sheet, and run in a browser."""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    pktmon_trace(tmp_path / "trace.etl")
    (tmp_path / "old.pcapng").write_bytes(b"an older file")
    return tmp_path


@contextlib.contextmanager
def waiting_run(folder: Path, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A conversion to old.pcapng that has begun to write and waits for the rest of its input."""
    fifo = folder / "input"
    os.mkfifo(fifo)
    path = os.pathsep.join(os.path.abspath(each) for each in sys.path if each)
    words = [sys.executable, "-m", "etwcap", "convert", str(fifo), "-w", str(folder / "old.pcapng"), *more]
    run = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.PIPE)
    try:
        with open(fifo, "wb", buffering=0) as feed:
            feed.write(capture_of(20_000))
            wait_for(lambda: any(part.stat().st_size for part in folder.glob("*.part")))
            yield run
    finally:
        run.kill()
        run.communicate()


def wait_for(condition: object) -> None:
    for _ in range(600):
        if condition():  # type: ignore[operator]
            return
        time.sleep(0.05)
    pytest.fail("the run never began to write")


def capture_of(packets: int) -> bytes:
    """A pcap of so many packets of 1,000 bytes."""
    head = bytes.fromhex("d4c3b2a1 0200 0400 00000000 00000000 00000400 01000000")
    record = (1).to_bytes(4, "little") * 2 + (1000).to_bytes(4, "little") * 2 + bytes(1000)
    return head + record * packets


@posix_only
@pytest.mark.parametrize(
    ("number", "code", "says"),
    [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "ended by SIGTERM"), ("SIGHUP", 129, "ended by SIGHUP")],
)
def test_a_signal_ends_a_run_and_leaves_nothing_behind(here: Path, number: str, code: int, says: str) -> None:
    with waiting_run(here) as run:
        run.send_signal(getattr(signal, number))
        _, told = run.communicate(timeout=60)
    assert run.returncode == code
    assert told.decode().splitlines()[-1] == f"etwcap: {says}"
    assert (here / "old.pcapng").read_bytes() == b"an older file"
    assert not list(here.glob(".*.part"))


@posix_only
def test_a_signal_that_was_ignored_from_the_start_stays_ignored(here: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with waiting_run(here) as run:
            run.send_signal(signal.SIGHUP)
            time.sleep(0.2)
            assert run.poll() is None
    finally:
        signal.signal(signal.SIGHUP, before)


@posix_only
def test_a_killed_run_leaves_the_old_file_and_the_input_as_they_were(here: Path) -> None:
    with waiting_run(here, "--receipt", str(here / "receipt.json")) as run:
        run.send_signal(signal.SIGKILL)
        run.communicate(timeout=60)
    assert run.returncode == -signal.SIGKILL
    assert (here / "old.pcapng").read_bytes() == b"an older file"
    assert not (here / "receipt.json").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    if sys.platform != "linux":
        pytest.skip("a small file system is made as on Linux")
    if os.geteuid() != 0:
        missing("a small file system needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)], capture_output=True).returncode:
        missing("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_is_told_and_freed_again(small_disk: Path, tmp_path: Path) -> None:
    (tmp_path / "big.pcap").write_bytes(capture_of(5_000))
    old = small_disk / "out.pcapng"
    old.write_bytes(b"an older file")
    done = etwcap("convert", tmp_path / "big.pcap", "-w", old)
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "hint: free some space" in done.stderr
    assert old.read_bytes() == b"an older file"
    assert os.listdir(small_disk) == ["out.pcapng"]


@pytest.mark.skipif(sys.platform != "linux", reason="a device that is always full is Linux's own")
@pytest.mark.parametrize(
    "words", [("info", "trace.etl"), ("info", "trace.etl", "--json"), ("convert", "trace.etl", "-w", "-")]
)
def test_a_full_disk_behind_stdout_is_a_failure(here: Path, words: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        done = etwcap_process(*(here / word if word == "trace.etl" else word for word in words), stdout=full.fileno())
    assert done.returncode == 1
    assert b"No space left" in done.stderr
    assert b"Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 3


@pytest.mark.skipif(sys.platform == "win32" or not hasattr(os, "geteuid"), reason="modes of POSIX")
def test_a_folder_that_takes_no_files_is_told(here: Path) -> None:
    if os.geteuid() == 0 and not os.path.isdir("/proc/self"):
        missing("root may write everywhere, and there is no /proc to prove it with")
    folder = Path("/proc/self") if os.geteuid() == 0 else here / "locked"
    if folder.name == "locked":
        folder.mkdir(mode=0o555)
    done = etwcap("convert", here / "trace.etl", "-w", folder / "out.pcapng")
    assert done.returncode == 1
    assert "the output cannot be created" in done.stderr


@posix_only
@pytest.mark.parametrize("way", ["same", "symlink", "hardlink", "dotted", "receipt"])
def test_an_input_is_never_damaged_whatever_name_the_output_has(here: Path, way: str) -> None:
    trace = here / "trace.etl"
    before = trace.read_bytes()
    output = {"same": trace, "dotted": here / "." / "x" / ".." / "trace.etl"}.get(way, here / "other.pcapng")
    (here / "x").mkdir()
    if way == "symlink":
        output.symlink_to(trace)
    elif way == "hardlink":
        output.hardlink_to(trace)
    words: list[str | Path] = ["-w", here / "new.pcapng", "--receipt", trace] if way == "receipt" else ["-w", output]
    done = etwcap("convert", trace, *words)
    assert done.returncode in (1, 2)
    assert trace.read_bytes() == before


@posix_only
@pytest.mark.parametrize("kind", ["pcapng", "pcap"])
def test_a_reader_that_has_seen_enough_ends_the_run_quietly(here: Path, kind: str) -> None:
    (here / "big.pcap").write_bytes(capture_of(20_000))
    path = os.pathsep.join(os.path.abspath(each) for each in sys.path if each)
    words = [sys.executable, "-m", "etwcap", "convert", str(here / "big.pcap"), "-w", "-", "--format", kind, "-q"]
    run = subprocess.Popen(
        words, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert run.stdout is not None
    assert len(run.stdout.read(1000)) == 1000
    run.stdout.close()
    assert run.wait(60) == 0
    assert run.stderr is not None
    assert run.stderr.read() == b""
    run.stderr.close()


# ---- names ----


@pytest.fixture
def hostile_names(tmp_path: Path) -> Path:
    """A pcapng whose every text is hostile."""
    from etwcap.sinks.options import END, block, option

    text = HOSTILE.encode()

    def options(*codes: int) -> bytes:
        return b"".join(option(code, text) for code in codes) + END

    section = block(0x0A0D0D0A, bytes.fromhex("4d3c2b1a 0100 0000 ffffffffffffffff") + options(1, 2, 3, 4))
    interface = block(1, bytes.fromhex("0100 0000 00000000") + options(1, 2, 3, 12, 15))
    packet = block(6, bytes(4) + bytes(8) + (60).to_bytes(4, "little") * 2 + bytes(60) + options(1))
    path = tmp_path / "hostile.pcapng"
    path.write_bytes(section + interface + packet)
    return path


def steers(text: str) -> list[str]:
    """The characters of a text that a terminal would obey."""
    return [each for each in text if not each.isprintable() and each != "\n"]


@pytest.mark.parametrize(
    "words", [("info",), ("info", "--json"), ("convert", "-w", "out.pcapng"), ("convert", "-w", "out.pcapng", "--json")]
)
def test_names_from_a_file_cannot_steer_the_terminal(hostile_names: Path, words: tuple[str, ...]) -> None:
    command, *more = words
    done = etwcap(command, hostile_names, *more, cwd=hostile_names.parent)
    assert done.returncode == 0
    assert steers(done.stdout + done.stderr) == []
    if "--json" in words:
        json.loads(done.stdout)


@posix_only
def test_nor_can_the_name_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / HOSTILE.replace("/", "|").replace("\n", "")
    path.write_bytes(b"no trace")
    for words in (("info", path), ("convert", path), ("convert", path, "-w", tmp_path / "no\x1b[2J" / "x.pcapng")):
        done = etwcap(*words, cwd=tmp_path)
        assert done.returncode == 1
        assert steers(done.stderr) == []
        assert path.name not in done.stderr


def test_what_is_written_for_other_programs_cannot_steer_a_terminal_either(hostile_names: Path, tshark: str) -> None:
    out = hostile_names.parent / "out.pcapng"
    assert etwcap("convert", hostile_names, "-w", out).returncode == 0
    fields = [f"-e{name}" for name in ("frame.interface_name", "frame.interface_description")]
    done = subprocess.run([tshark, "-r", str(out), "-Tfields", *fields], capture_output=True, check=True)
    shown = done.stdout.decode()
    assert "gnp.exe" in shown
    assert steers(shown.replace("\t", "")) == []
