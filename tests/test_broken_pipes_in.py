"""A trace that comes through a pipe is read as the file would be, however broken its beginning."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from command_line import etwcap_process
from conftest import CHECKOUT
from etwcap.errors import NotATraceError
from etwcap.packets import Context
from etwcap.sources import opening

BAD = CHECKOUT / "tests" / "data" / "bad"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX, fed by cat")


@pytest.mark.parametrize("name", ["first-buffer-zeroed.etl", "buffer-header-zeroed.etl", "cut-between-buffers.etl"])
def test_a_broken_trace_through_a_pipe_gives_what_the_file_gives(tmp_path: Path, name: str) -> None:
    from_file = etwcap_process("convert", BAD / name, "-w", tmp_path / "file.pcap")
    with subprocess.Popen(["cat", BAD / name], stdout=subprocess.PIPE) as cat:
        assert cat.stdout is not None
        piped = etwcap_process("convert", "-", "-w", tmp_path / "pipe.pcap", stdin=cat.stdout.fileno())
    assert (piped.returncode, from_file.returncode) == (4, 4)
    files = [tmp_path / "file.pcap", tmp_path / "pipe.pcap"]
    assert len({each.read_bytes() if each.exists() else b"" for each in files}) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes in folders")
def test_a_pipe_that_never_ends_and_holds_no_trace_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_SEARCHED", 1 << 16)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    taken = 0

    def write() -> None:
        nonlocal taken
        with contextlib.suppress(BrokenPipeError), pipe.open("wb", buffering=0) as out:
            while taken < 1 << 26:
                taken += out.write(bytes(1 << 12))

    writer = threading.Thread(target=write)
    writer.start()
    with pytest.raises(NotATraceError):
        opening.open_source(pipe, Context())
    writer.join()
    assert taken < 1 << 22
