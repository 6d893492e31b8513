"""The fuzz targets: which there are, how they are built, and how one is run for a while.

A C target is linked with a core that was compiled once for all of them, with AddressSanitizer,
UndefinedBehaviorSanitizer, and the checks that make a wrapped unsigned sum or a lossy conversion an error (but where
wraps.txt allows it).
A Python target is a script that takes libFuzzer's options itself.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FUZZ = ROOT / "fuzz"
NATIVE = ROOT / "src/etwcap/native"
BAD = ROOT / "tests/data/bad"

PYTHON_TARGETS = {"convert": FUZZ / "convert.py"}
SANITIZERS = "address,undefined,unsigned-integer-overflow,implicit-conversion"
FATAL = "undefined,unsigned-integer-overflow,implicit-conversion"
FLAGS = (
    "-std=c11", "-g", "-O1", "-fno-omit-frame-pointer", "-D_GNU_SOURCE", f"-I{NATIVE}",
    f"-fno-sanitize-recover={FATAL}", f"-fsanitize-ignorelist={FUZZ / 'wraps.txt'}",
)  # fmt: skip
LIMITS = ("-max_len=65536", "-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1", "-reload=0")


class BuildError(Exception):
    """A target or the core does not compile; the compiler's words."""


def names() -> list[str]:
    """Every target."""
    return sorted([*(path.stem for path in FUZZ.glob("*.c")), *PYTHON_TARGETS])


def state_of(target: str) -> str:
    """A short name for the sources that a target runs: equal names, equal code."""
    paths = [*NATIVE.glob("*.[ch]"), *FUZZ.glob("*.[ch]"), FUZZ / "wraps.txt"]
    if target in PYTHON_TARGETS:
        paths = [*NATIVE.glob("*.[ch]"), PYTHON_TARGETS[target], *(ROOT / "src/etwcap").rglob("*.py")]
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def _call(command: Sequence[str | Path]) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise BuildError(done.stderr or f"{command[0]} failed")


def _core(folder: Path) -> Path:
    """The archive of the core's objects, compiled if its sources are new."""
    digest = hashlib.sha256(" ".join(FLAGS).encode() + SANITIZERS.encode() + (FUZZ / "wraps.txt").read_bytes())
    sources = sorted(NATIVE.glob("*.[ch]"))
    for path in sources:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    made = folder / f"objects-{digest.hexdigest()[:12]}"
    archive = made / "core.a"
    if archive.exists():
        return archive
    made.mkdir(parents=True, exist_ok=True)

    def compile_one(source: Path) -> Path:
        target = made / f"{source.stem}.o"
        _call(["clang", *FLAGS, f"-fsanitize=fuzzer-no-link,{SANITIZERS}", "-c", source, "-o", target])
        return target

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, [path for path in sources if path.suffix == ".c"]))
    new = made / f"core.a.{os.getpid()}"
    _call(["ar", "rcs", new, *objects])
    new.rename(archive)
    for older in folder.glob("objects-*"):
        if older != made:
            for path in older.iterdir():
                path.unlink()
            older.rmdir()
    return archive


def interpreter() -> str:
    """A Python that has what etwcap needs: the one that runs, else that of the checkout's environment."""
    if importlib.util.find_spec("numpy"):
        return sys.executable
    local = ROOT / ".venv/bin/python"
    if local.exists():
        return str(local)
    raise BuildError(
        "this Python has no NumPy: make .venv as README.md says under Test, or name targets of the core only"
    )


def build(target: str, folder: Path, archive: Path | None = None) -> list[str]:
    """The command that runs a target, built in a folder where its sources are new. Raises BuildError."""
    if target in PYTHON_TARGETS:
        return [interpreter(), str(PYTHON_TARGETS[target])]
    program = folder / f"{target}-{state_of(target)}"
    if not program.exists():
        archive = archive or _core(folder)
        new = program.with_suffix(f".new{os.getpid()}")
        _call(["clang", *FLAGS, f"-fsanitize=fuzzer,{SANITIZERS}", FUZZ / f"{target}.c", archive, "-o", new])
        for older in folder.glob(f"{target}-????????????"):
            older.unlink()
        new.rename(program)
    return [str(program)]


def build_all(chosen: Sequence[str], folder: Path) -> dict[str, list[str]]:
    """The commands of several targets, built side by side. Raises BuildError."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = _core(folder) if any(target not in PYTHON_TARGETS for target in chosen) else None
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(chosen, pool.map(lambda target: build(target, folder, archive), chosen), strict=True))


def known_inputs(target: str) -> list[Path]:
    """The folders that every run of a target begins with: seeds, and what was found before."""
    folders = [FUZZ / "seeds" / target, BAD if target in PYTHON_TARGETS else BAD / "kernels" / target]
    return [folder for folder in folders if folder.is_dir()]


def environment() -> dict[str, str]:
    """The environment that targets run in: etwcap of the checkout where its core is built there, else as installed."""
    built = any(NATIVE.glob("_etwcap.*"))
    paths = [*([str(ROOT / "src")] if built else []), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "ASAN_OPTIONS": "detect_leaks=1:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONPATH": os.pathsep.join(paths),
    }


@dataclass(frozen=True)
class Result:
    """What one run of a target did."""

    target: str
    code: int
    processor_seconds: float
    """user and system"""
    wall_seconds: float
    inputs: int | None
    edges: int | None
    """None where the target was not guided by coverage"""
    found: list[str]
    """names of the inputs that failed, kept beside the corpus"""
    log: Path


def run(target: str, command: Sequence[str], seconds: int, folder: Path, corpus: Path) -> Result:
    """Run a target for so long on its corpus; inputs that fail are kept in the folder as TARGET.crash-… or alike."""
    corpus.mkdir(parents=True, exist_ok=True)
    before = set(folder.glob(f"{target}.*-*"))
    log = folder / f"{target}.log"
    words = [*command, f"-max_total_time={seconds}", *LIMITS, f"-artifact_prefix={folder}/{target}.", str(corpus)]
    words += [str(path) for path in known_inputs(target)]
    begun = time.monotonic()
    with open(log, "wb") as output:
        process = subprocess.Popen(words, stdout=output, stderr=output, env=environment(), cwd=folder)
        code, usage = _wait(process)
    text = log.read_text(errors="replace")
    inputs = re.search(r"number_of_executed_units: (\d+)", text)
    edges = re.findall(r" cov: (\d+) ", text)
    found = sorted(path.name for path in set(folder.glob(f"{target}.*-*")) - before)
    return Result(
        target, code, usage, time.monotonic() - begun, int(inputs[1]) if inputs else None,
        int(edges[-1]) if edges else None, found, log,
    )  # fmt: skip


def _wait(process: subprocess.Popen[bytes]) -> tuple[int, float]:
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_utime + usage.ru_stime
