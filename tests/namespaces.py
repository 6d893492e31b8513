"""Network namespaces for tests: machines of our own, joined by veth pairs; nothing leaves this machine.

They need Linux, root and iproute2: ``why_not()`` says what is missing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")

CLONE_NEWNET = 0x40000000
SECONDS = 30
"""No single command of a set-up takes longer."""


def why_not(*tools: str) -> str:
    """Why namespaces with these programs cannot be had here; empty if they can."""
    if not sys.platform.startswith("linux"):
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "network namespaces need root"
    absent = [tool for tool in ("ip", *tools) if shutil.which(tool) is None]
    if absent:
        return f"not installed: {', '.join(absent)}"
    name = f"etwcap-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"no network namespace can be made: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return ""


def run(*words: str, allow_failure: bool = False, seconds: float = SECONDS) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; raises with what it said if it failed."""
    ended = subprocess.run(words, capture_output=True, text=True, timeout=seconds, check=False)
    if ended.returncode and not allow_failure:
        raise RuntimeError(f"{' '.join(words)}: {ended.stderr.strip() or ended.stdout.strip()}")
    return ended


class Namespace:
    """One network namespace; ``name`` is as iproute2 knows it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._children: list[subprocess.Popen[bytes]] = []

    def run(self, *words: str, allow_failure: bool = False, seconds: float = SECONDS) -> str:
        """Run a command in it; its standard output."""
        command = ("ip", "netns", "exec", self.name, *words)
        return run(*command, allow_failure=allow_failure, seconds=seconds).stdout

    def start(self, *words: str, log: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a program in it; it ends with the namespace."""
        output = subprocess.DEVNULL if log is None else log.open("wb")
        try:
            command = ["ip", "netns", "exec", self.name, *words]
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        finally:
            if not isinstance(output, int):
                output.close()
        self._children.append(child)
        return child

    def within(self, work: Callable[[], Result]) -> Result:
        """The result of ``work``, called by a thread that is in this namespace: sockets it makes stay there."""
        results: list[Result] = []
        errors: list[BaseException] = []

        def enter() -> None:
            try:
                libc = ctypes.CDLL(None, use_errno=True)
                with open(f"/run/netns/{self.name}", "rb") as space:
                    if libc.setns(space.fileno(), CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), "setns")
                results.append(work())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    def stop(self) -> None:
        """End the programs that were started here."""
        for child in reversed(self._children):
            end(child)
        self._children.clear()


def end(child: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> None:
    """End a program of ours, by force if it does not go."""
    if child.poll() is None:
        child.send_signal(number)
        try:
            child.wait(3)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextlib.contextmanager
def namespaces(names: Sequence[str]) -> Iterator[list[Namespace]]:
    """Fresh namespaces with loopback up, gone afterwards with all that runs in them."""
    made: list[Namespace] = []
    try:
        for name in names:
            space = Namespace(f"{name}-{os.getpid()}")
            run("ip", "netns", "add", space.name)
            made.append(space)
            space.run("ip", "link", "set", "lo", "up")
        yield made
    finally:
        for space in made:
            space.stop()
        for space in made:
            run("ip", "netns", "del", space.name, allow_failure=True)


def join(one: Namespace, name: str, other: Namespace, other_name: str, *, mtu: int = 1500) -> None:
    """A veth pair between two namespaces, up."""
    run(
        *("ip", "link", "add", name, "netns", one.name, "mtu", str(mtu), "type", "veth"),
        *("peer", "name", other_name, "netns", other.name, "mtu", str(mtu)),
    )
    for space, link in ((one, name), (other, other_name)):
        space.run("ip", "link", "set", link, "up")


def address(space: Namespace, link: str, *addresses: str) -> None:
    """Give a link addresses (with prefix length) that may be used at once."""
    for each in addresses:
        space.run("ip", "addr", "add", each, "dev", link, *(["nodad"] if ":" in each else []))


def wait_for(what: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether ``what`` came true within the time."""
    until = time.monotonic() + seconds
    while not what():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def link_local(space: Namespace, link: str) -> str:
    """The link-local address of a link, once it may be used."""
    found: list[str] = []

    def look() -> bool:
        words = space.run("ip", "-6", "-o", "addr", "show", "dev", link, "scope", "link").split()
        if "inet6" in words and "tentative" not in words:
            found.append(words[words.index("inet6") + 1].split("/")[0])
        return bool(found)

    if not wait_for(look):
        raise RuntimeError(f"{link} has no link-local address")
    return found[0]


@contextlib.contextmanager
def tcpdump(space: Namespace, link: str, target: Path, *words: str) -> Iterator[None]:
    """Record a link into a pcap file with nanoseconds, from the moment this is entered until it is left."""
    command = ["ip", "netns", "exec", space.name, "tcpdump", "-i", link, "-w", str(target), "-U", "-B", "65536"]
    command += ["--immediate-mode", "-Z", "root", "--time-stamp-precision=nano", *words]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        assert child.stderr is not None
        said = b""
        while b"listening" not in said:
            line = child.stderr.readline()
            said += line
            if not line:
                raise RuntimeError(f"tcpdump: {said.decode(errors='replace')}")
        yield
        time.sleep(0.3)
    finally:
        end(child, signal.SIGINT)
