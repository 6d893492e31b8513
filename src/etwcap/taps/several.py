"""Live sources behind stages, and several of them as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from etwcap.packets import Chunk, Description
from etwcap.pipeline.merge import MergedSource
from etwcap.pipeline.protocols import Stage
from etwcap.pipeline.run import Staged
from etwcap.taps.protocol import LiveTapSource, TapLosses


class LiveStaged(Staged):
    """A live source followed by stages: again one (protocol ``LiveTapSource``)."""

    def __init__(self, source: LiveTapSource, stages: Sequence[Stage]) -> None:
        super().__init__(source, stages)
        self._live = source

    def stop(self) -> None:
        """End; see ``LiveSource.stop``."""
        self._live.stop()

    def losses(self) -> TapLosses:
        """What the source lost."""
        return self._live.losses()


class LiveMerge:
    """Several taps as one timeline (protocol ``LiveTapSource``).

    A packet comes out as soon as no tap can give an earlier one, which each tap's ``complete_to`` says: so the slowest
    tap's delay is everybody's. Of equal times, the tap that was named first comes first.
    """

    def __init__(self, sources: Sequence[LiveTapSource]) -> None:
        self._sources = list(sources)
        self._merged = MergedSource(self._sources, ticks=True)

    def describe(self) -> Description:
        """The first tap's; each tap's own is in ``Context.descriptions``."""
        return self._sources[0].describe()

    def chunks(self) -> Iterator[Chunk]:
        """All taps' packets in one order of time; an empty chunk whenever the time goes on without packets."""
        yield from self._merged.chunks()

    def progress(self) -> tuple[int, int]:
        """(bytes of all taps so far, 0)."""
        return self._merged.progress()[0], 0

    def losses(self) -> TapLosses:
        """All taps' losses together."""
        return sum((each.losses() for each in self._sources), TapLosses())

    def stop(self) -> None:
        """End all of them."""
        for each in self._sources:
            each.stop()

    def close(self) -> None:
        """Release all of them, though one of them fails."""
        failure: BaseException | None = None
        for each in self._sources:
            try:
                each.close()
            except BaseException as error:
                failure = failure or error
        if failure is not None:
            raise failure
