from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from etwcap.errors import OutputError
from etwcap.sinks.output import Output, ReaderGone

posix = pytest.mark.skipif(sys.platform == "win32", reason="files of POSIX systems")
POSIX_USER = hasattr(os, "geteuid") and os.geteuid() != 0


def test_the_final_name_appears_only_with_the_whole_content(tmp_path: Path) -> None:
    target = tmp_path / "out.pcapng"
    output = Output(target)
    output.write(b"first ")
    output.write(memoryview(b"second"))
    assert not target.exists()
    output.commit()
    assert target.read_bytes() == b"first second"
    assert os.listdir(tmp_path) == ["out.pcapng"]
    assert output.written == 12


def test_an_aborted_output_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "out.pcapng"
    target.write_bytes(b"old")
    output = Output(target)
    output.write(b"new")
    output.abort()
    output.abort()
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out.pcapng"]


def test_abort_after_commit_changes_nothing(tmp_path: Path) -> None:
    output = Output(tmp_path / "out")
    output.write(b"kept")
    output.commit()
    output.abort()
    assert (tmp_path / "out").read_bytes() == b"kept"


@posix
def test_a_new_file_has_the_usual_mode_and_a_replaced_one_keeps_its_own(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        fresh = Output(tmp_path / "fresh")
        fresh.commit()
        assert stat.S_IMODE((tmp_path / "fresh").stat().st_mode) == 0o640
    finally:
        os.umask(mask)
    (tmp_path / "held").touch(0o600)
    (tmp_path / "held").chmod(0o604)
    held = Output(tmp_path / "held")
    held.commit()
    assert stat.S_IMODE((tmp_path / "held").stat().st_mode) == 0o604


@posix
def test_a_link_stays_a_link_to_the_new_content(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    output = Output(tmp_path / "link")
    output.write(b"new")
    output.commit()
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_an_input_is_never_replaced(tmp_path: Path) -> None:
    source = tmp_path / "in.pcapng"
    source.write_bytes(b"evidence")
    os.link(source, tmp_path / "same.pcapng")
    for name in ("in.pcapng", "same.pcapng", "./in.pcapng"):
        with pytest.raises(OutputError, match="same file") as raised:
            Output(f"{tmp_path}/{name}", inputs=[tmp_path / "absent", source])
        assert "-w" in raised.value.hint
    assert source.read_bytes() == b"evidence"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as raised:
        Output(tmp_path / "no" / "such" / "out.pcapng")
    assert f"there is no folder {tmp_path / 'no' / 'such'}" in raised.value.cause
    assert "create the folder" in raised.value.hint


def test_a_folder_is_no_output(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder"):
        Output(tmp_path)


@pytest.mark.skipif(not POSIX_USER, reason="root may write anywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        Output(tmp_path / "closed" / "out")


@posix
def test_a_full_disk_is_told_with_a_hint() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    output = Output("/dev/full")
    with pytest.raises(OutputError, match="No space left on device after 0 bytes") as raised:
        output.write(b"x")
    assert "free some space" in raised.value.hint
    output.abort()


@posix
def test_a_device_is_written_in_place() -> None:
    output = Output("/dev/null")
    output.write(b"x" * 100)
    assert output.in_place
    assert output.rewrite(0, b"y") is False
    output.commit()
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@posix
def test_a_fifo_is_written_in_place(tmp_path: Path) -> None:
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
    reader.start()
    output = Output(fifo)
    output.write(b"z" * 300_000)
    output.commit()
    reader.join()
    assert got == [b"z" * 300_000]
    assert stat.S_ISFIFO(fifo.stat().st_mode)


@posix
def test_a_reader_that_closes_early_is_told_apart_from_an_error(tmp_path: Path) -> None:
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    output = Output(fifo)
    os.close(reader)
    with pytest.raises(ReaderGone):
        output.write(b"x")
    output.abort()
    assert fifo.exists()


@posix
def test_a_slow_reader_of_a_non_blocking_pipe_gets_everything(tmp_path: Path) -> None:
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    output = Output(fifo)
    os.set_blocking(reader, True)
    os.set_blocking(output._fd, False)
    got = bytearray()

    def drain() -> None:
        while data := os.read(reader, 1000):
            got.extend(data)

    thread = threading.Thread(target=drain)
    thread.start()
    output.write(bytes(400_000))
    output.commit()
    thread.join()
    os.close(reader)
    assert len(got) == 400_000


@pytest.mark.parametrize("name", ["-", pytest.param("/dev/stdout", marks=posix)])
def test_standard_output_gets_the_bytes(tmp_path: Path, name: str) -> None:
    code = f"""
from etwcap.sinks.output import Output
output = Output({name!r})
output.write(b"\\r\\n\\x1a")
output.commit()
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True)
    assert ran.stdout == b"\r\n\x1a"
    target = tmp_path / "redirected"
    with target.open("wb") as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, timeout=60, check=True)
    assert target.read_bytes() == b"\r\n\x1a"


@posix
def test_a_capture_is_not_written_to_a_terminal() -> None:
    import pty

    controller, terminal = pty.openpty()
    code = "from etwcap.sinks.output import Output; Output('-')"
    ran = subprocess.run([sys.executable, "-c", code], stdout=terminal, stderr=subprocess.PIPE, timeout=60)
    os.close(terminal)
    os.close(controller)
    assert ran.returncode == 1
    assert b"standard output is a terminal" in ran.stderr


def test_written_bytes_can_be_replaced_before_the_end(tmp_path: Path) -> None:
    output = Output(tmp_path / "out")
    output.write(b"0123456789")
    assert output.rewrite(2, b"xx") is True
    output.write(b"end")
    output.commit()
    assert (tmp_path / "out").read_bytes() == b"01xx456789end"
