"""Linux against Windows, and the folder for Windows that needs no Python, run under Wine.

Run by ``scripts/windows-test --bed``; see ``bed``.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from bed import BED, ROOT, lines, on_linux, on_windows, run_windows

SAMPLE = ROOT / "examples" / "sample-pktmon.etl"
FOLDER = ROOT / "packaging" / "windows-folder"


@pytest.mark.parametrize("options", [[], ["--appearances", "all"], ["--ethernet"]], ids=lambda each: " ".join(each))
def test_windows_writes_the_bytes_that_linux_writes(tmp_path: Path, options: list[str]) -> None:
    shutil.copy(SAMPLE, tmp_path)
    words = ["convert", SAMPLE.name, *options, "-w"]
    there, here = on_windows(*words, "there.pcapng", cwd=tmp_path), on_linux(*words, "here.pcapng", cwd=tmp_path)
    assert (there.returncode, here.returncode) == (0, 0)
    assert lines(there.stderr).replace(b"there.", b"here.") == here.stderr
    assert (tmp_path / "there.pcapng").read_bytes() == (tmp_path / "here.pcapng").read_bytes()


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
def test_windows_describes_a_trace_as_linux_does(options: list[str]) -> None:
    words = ["info", SAMPLE.name, *options]
    there, here = on_windows(*words, cwd=SAMPLE.parent), on_linux(*words, cwd=SAMPLE.parent)
    assert (there.returncode, lines(there.stdout)) == (0, here.stdout)


def test_standard_output_is_binary(tmp_path: Path) -> None:
    there = on_windows("convert", SAMPLE, "-q", "-w", "-")
    assert (there.returncode, there.stderr) == (0, b"")
    assert on_linux("convert", SAMPLE, "-q", "-w", tmp_path / "here.pcapng").returncode == 0
    assert there.stdout == (tmp_path / "here.pcapng").read_bytes()


@pytest.fixture(scope="module")
def zipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for Windows, zipped, with the interpreter of the test bed in place of python.org's package."""
    work = tmp_path_factory.mktemp("compose")
    launcher = work / "etwcap.exe"
    subprocess.run([str(FOLDER / "build-launcher"), "python311.dll", str(launcher), "etwcap"], check=True)
    bed = Path(BED)
    patterns = ["dist/etwcap-*-win_amd64.whl", *(f"downloads/{each}-*.whl" for each in ("numpy", "click", "colorama"))]
    embed = bed / "embed.zip"
    words = ["--embed", embed, "--sha256", hashlib.sha256(embed.read_bytes()).hexdigest(), "--launcher", launcher]
    wheels = [next(bed.glob(each)) for each in patterns]
    command = [sys.executable, FOLDER / "compose.py", *words, "--wheel", *wheels, "--out", work]
    subprocess.run(list(map(str, command)), check=True)
    (path,) = work.glob("etwcap-*-windows-x64.zip")
    return path


@pytest.fixture(scope="module")
def program(zipped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """etwcap.exe of the folder, unzipped where paths have spaces and letters beyond ASCII."""
    place = tmp_path_factory.mktemp("Über Programme")
    with zipfile.ZipFile(zipped) as archive:
        archive.extractall(place)
    return next(place.glob("etwcap-*-windows-x64/etwcap.exe"))


def test_the_folder_has_no_other_program_and_no_tests(zipped: Path) -> None:
    names = [name.partition("/")[2] for name in zipfile.ZipFile(zipped).namelist()]
    assert [name for name in names if name.endswith(".exe")] == ["etwcap.exe"]
    assert {"LICENSE.txt", "LICENSE-etwcap.txt", "README.txt", "Lib/site-packages/etwcap/native/_etwcap.dll"} < {*names}
    assert not [name for name in names if "/tests/" in name or name.endswith((".c", ".h", ".so"))]


def test_the_program_says_its_version_and_runs_the_native_core(program: Path) -> None:
    done = run_windows(program, "--version")
    assert done.returncode == 0
    assert b"native core; CPython 3.11" in done.stdout
    assert b"Windows" in done.stdout


def test_the_program_converts_what_linux_converts(program: Path, tmp_path: Path) -> None:
    trace = tmp_path / "Spur größe 数.etl"
    shutil.copy(SAMPLE, trace)
    done = run_windows(program, "convert", trace.name, "-w", "Ausgabe ñ.pcapng", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"")
    assert on_linux("convert", trace.name, "-w", "here.pcapng", cwd=tmp_path).returncode == 0
    assert (tmp_path / "Ausgabe ñ.pcapng").read_bytes() == (tmp_path / "here.pcapng").read_bytes()


def test_the_program_ends_with_the_exit_codes_of_etwcap(program: Path, tmp_path: Path) -> None:
    (tmp_path / "foreign.etl").write_bytes(b"no trace at all" * 100)
    (tmp_path / "empty.pcap").write_bytes(bytes.fromhex("d4c3b2a102000400000000000000000000000400 01000000"))
    cut = SAMPLE.read_bytes()
    (tmp_path / "damaged.etl").write_bytes(cut[: len(cut) * 2 // 3])
    found = {
        each: run_windows(program, "convert", *each, cwd=tmp_path).returncode
        for each in [
            ("foreign.etl", "-w", "out.pcapng"),
            ("missing.etl", "-w", "out.pcapng"),
            ("--no-such-option",),
            ("empty.pcap", "-w", "out.pcapng"),
            ("damaged.etl", "-w", "out.pcapng"),
        ]
    }
    assert list(found.values()) == [1, 1, 2, 3, 4]


def test_the_environment_does_not_decide_what_runs(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etwcap.py").write_text("raise SystemExit(99)\n")
    (tmp_path / "click.py").write_text("raise SystemExit(98)\n")
    (tmp_path / "python311.dll").write_bytes(b"MZ")
    monkeypatch.setenv("WINEPATH", f"Z:{tmp_path}".replace("/", "\\"))
    assert run_windows(program, "--version", cwd=tmp_path).returncode == 0


def test_a_folder_without_its_python_is_told_so(program: Path, tmp_path: Path) -> None:
    lonely = shutil.copy(program, tmp_path / "etwcap.exe")
    done = run_windows(Path(lonely), "--version")
    assert done.returncode == 1
    assert b"etwcap: its Python cannot be loaded" in done.stderr
    assert b"python311.dll" in done.stderr


def test_another_package_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    embed = Path(BED, "embed.zip")
    words = ["--embed", embed, "--sha256", "0" * 64, "--launcher", embed, "--wheel", embed, "--out", tmp_path / "out"]
    command = [sys.executable, FOLDER / "compose.py", *words]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "SHA-256" in done.stderr
    assert not (tmp_path / "out").exists()
