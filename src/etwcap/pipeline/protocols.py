"""The three roles in a run: a source gives chunks, a stage turns chunks into chunks, a sink takes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from etwcap.packets import Chunk, Description


class Source(Protocol):
    """Packets from a file or a live tap."""

    def describe(self) -> Description:
        """What is known before the first packet; cheap, and the same object each time (its losses grow)."""
        ...

    def chunks(self) -> Iterator[Chunk]:
        """The packets and events, once, in time order. A chunk is valid until the next one is asked for."""
        ...

    def progress(self) -> tuple[int, int]:
        """(bytes of the input done, bytes in all; 0 where that is not known)."""
        ...

    def close(self) -> None:
        """Release the input. Safe to call twice."""
        ...


class Stage(Protocol):
    """One change to the packets."""

    def process(self, chunk: Chunk) -> Chunk:
        """The chunk to pass on: the same one changed, or another with rows held back or released."""
        ...

    def finish(self) -> Chunk | None:
        """The rows still held, after the last chunk."""
        ...


class Sink(Protocol):
    """Where packets go."""

    @property
    def packets(self) -> int:
        """Packets written so far."""
        ...

    def write(self, chunk: Chunk) -> None:
        """Take the packets of a chunk; its buffer is not touched afterwards."""
        ...

    def finish(self) -> None:
        """Write what stands at the end and give the output its final name."""
        ...

    def abort(self) -> None:
        """Leave nothing behind under the final name."""
        ...
