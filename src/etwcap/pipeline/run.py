"""Running a pipeline: a source through its stages, and chunks into a sink."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from etwcap.packets import Chunk, Description
from etwcap.pipeline.protocols import Sink, Source, Stage

Progress = Callable[[int, int], None]
"""Told (bytes done, bytes in all; 0 = not known) after each chunk."""


class Staged:
    """A source followed by stages: again a source."""

    def __init__(self, source: Source, stages: Sequence[Stage]) -> None:
        self._source = source
        self._stages = list(stages)

    def describe(self) -> Description:
        """What the source says."""
        return self._source.describe()

    def progress(self) -> tuple[int, int]:
        """How far the source is."""
        return self._source.progress()

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    def chunks(self) -> Iterator[Chunk]:
        """The chunks behind the last stage."""
        for chunk in self._source.chunks():
            yield self._through(chunk, 0)
        for number, stage in enumerate(self._stages):
            rest = stage.finish()
            if rest is not None:
                yield self._through(rest, number + 1)

    def _through(self, chunk: Chunk, first: int) -> Chunk:
        for stage in self._stages[first:]:
            chunk = stage.process(chunk)
        return chunk


def pump(
    source: Source, sink: Sink, progress: Progress | None = None, enough: Callable[[], bool] | None = None
) -> None:
    """Write everything the source gives, or until ``enough`` says so; the caller finishes or aborts the sink."""
    done = -1
    for chunk in source.chunks():
        sink.write(chunk)
        if progress is not None:
            at, size = source.progress()
            if at != done:
                progress(at, size)
                done = at
        if enough is not None and enough():
            break
