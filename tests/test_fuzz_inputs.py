"""What fuzzing and damage found before stays found: files of tests/data/bad, and the tools of fuzz/."""

from __future__ import annotations

import importlib
import importlib.util
import re
import struct
import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
FUZZ = ROOT / "fuzz"
BAD = ROOT / "tests" / "data" / "bad"
INPUTS = sorted(path for path in BAD.rglob("*") if path.is_file() and path.name != "README.md")
WHOLE_FILES = [path for path in INPUTS if path.relative_to(BAD).parts[0] != "kernels"]
SEEDS = sorted((FUZZ / "seeds" / "convert").iterdir())
LONGEST = 64 << 10


def load(name: str) -> ModuleType:
    """A script of fuzz/ as a module."""
    path = FUZZ / name
    loader = SourceFileLoader(f"fuzz_{path.stem}", str(path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def whole_path() -> ModuleType:
    return load("convert.py")


@pytest.fixture
def fuzz_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """fuzz/ on the path, as it is for its scripts."""
    monkeypatch.setattr(sys, "path", [str(FUZZ), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    sys.modules.pop("targets", None)


def test_every_bad_file_is_small_and_has_its_row() -> None:
    text = (BAD / "README.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE))
    assert rows == {path.relative_to(BAD).as_posix() for path in INPUTS}
    assert all(path.stat().st_size < LONGEST for path in INPUTS)


def test_kernel_inputs_lie_with_a_target_that_is_there(fuzz_folder: None) -> None:
    targets = importlib.import_module("targets")
    for path in (path for path in INPUTS if path not in WHOLE_FILES):
        target = path.relative_to(BAD).parts[1]
        assert target in targets.names()
        assert path.parent in targets.known_inputs(target)


@pytest.mark.parametrize("path", [*WHOLE_FILES, *SEEDS], ids=lambda path: path.name)
def test_the_promise_holds_for_every_bad_file_and_every_seed(
    both_cores: None, whole_path: ModuleType, path: Path, tmp_path: Path
) -> None:
    whole_path.check(path.read_bytes(), tmp_path)


def test_a_broken_promise_is_seen(whole_path: ModuleType) -> None:
    good = struct.pack("<III", 6, 12, 12)
    assert whole_path.blocks(good * 2) == 2
    for bad in (
        good[:-1],
        struct.pack("<III", 6, 12, 16),
        struct.pack("<III", 6, 14, 14),
        struct.pack("<III", 6, 0, 0),
    ):
        with pytest.raises(whole_path.BrokenPromiseError):
            whole_path.blocks(good + bad)


def test_an_input_that_fails_is_kept(
    whole_path: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(data: bytes) -> None:
        if b"bad" in data:
            raise whole_path.BrokenPromiseError("it is bad")

    monkeypatch.setattr(whole_path.signal, "alarm", lambda seconds: 0, raising=False)
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "one").write_bytes(b"a bad file")
    words = ["-max_total_time=1", f"-artifact_prefix={tmp_path}/convert.", str(tmp_path / "corpus")]
    with pytest.raises(SystemExit) as ended:
        whole_path.search_at_random(fail, words)
    assert ended.value.code == 77
    assert [path.read_bytes() for path in tmp_path.glob("convert.crash-*")] == [b"a bad file"]
    assert "it is bad" in capsys.readouterr().err


def test_the_log_of_long_runs_adds_up(
    fuzz_folder: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    long = load("long")
    rows = [
        long.HEADINGS,
        ("t", "etl", "s", "1800", "10", "5", "2", "none"),
        ("t", "etl", "s", "1800", "?", "?", "2", "x"),
    ]
    log = tmp_path / "hours.tsv"
    log.write_text("".join("\t".join(row) + "\n" for row in rows))
    monkeypatch.setattr(long, "LOG", log)
    long.total()
    shown = capsys.readouterr().out
    assert "1.00 core-hours, 10 inputs, 1 rounds with findings" in shown


def test_every_row_of_the_log_is_whole() -> None:
    lines = (FUZZ / "hours.tsv").read_text(encoding="utf-8").splitlines()
    assert all(len(line.split("\t")) == 8 and line.split("\t")[3].isdigit() for line in lines[1:])
