"""What a conversion takes of its packets, and what it hides of them: the stages behind those that repair."""

from __future__ import annotations

from collections.abc import Callable

from etwcap.errors import UsageError
from etwcap.packets import Context, Interface
from etwcap.pipeline.protocols import Source, Stage
from etwcap.repair.anonymize import AnonymizeStage
from etwcap.repair.limits import CountLimit, TimeRange, When
from etwcap.repair.strip import SnapLength, StripStage


class Choices:
    """The stages of one run. ``first`` come before interfaces and filters choose, ``last`` after; so times count from
    the first packet of the input, ``-c`` counts what is written, and a filter sees addresses as they were."""

    def __init__(
        self,
        context: Context,
        times: tuple[When | None, When | None],
        count: int | None,
        snap_length: int | None,
        strip_payload: bool,
        key: bytes | None,
    ) -> None:
        start, end = times
        self.range = TimeRange(context, start, end) if start is not None or end is not None else None
        self._count = CountLimit(context, count) if count is not None else None
        self._private = AnonymizeStage(context, key) if key is not None else None
        self.first: list[Stage] = [self.range] if self.range is not None else []
        self.last: list[Stage] = []
        if self._count is not None:
            self.last.append(self._count)
        if self._private is not None:
            self.last.append(self._private)
        if strip_payload:
            self.last.append(StripStage(context))
        if snap_length:
            self.last.append(SnapLength(context, snap_length))

    def enough(self) -> bool:
        """Whether no later packet is wanted."""
        return (self.range is not None and self.range.enough) or (self._count is not None and self._count.enough)

    @property
    def shown(self) -> Callable[[Interface], Interface] | None:
        """How an output may describe an interface; None: as it is."""
        return self._private.shown if self._private is not None else None


def check_numbers(count: int | None, snap_length: int | None, key: bytes | None) -> None:
    """Raise UsageError for a number of packets, a length or a key that cannot be."""
    if count is not None and count < 1:
        raise UsageError("the number of packets must be at least 1", cause=f"-c {count}")
    if snap_length is not None and not 0 <= snap_length < 2**32:
        raise UsageError("a packet cannot be cut to that length", cause=f"-s {snap_length}", hint="0 cuts nothing")
    if key is not None and not key.strip():
        raise UsageError(
            "the key of --anonymize is empty",
            hint="name any text, or @FILE for the bytes of a file; the same key maps the same way",
        )


def fixed_times(
    start: When | None, end: When | None, last_time: Callable[[], int | None]
) -> tuple[When | None, When | None]:
    """The times with those before the last packet made absolute; ``last_time`` is asked only for these.

    Raises UsageError where nothing can lie between the two.
    """
    if any(when is not None and when.after == "last" for when in (start, end)):
        last = last_time() or 0
        start, end = (When(last + w.time) if w is not None and w.after == "last" else w for w in (start, end))
    if start is not None and end is not None and start.after == end.after and end.time <= start.time:
        raise UsageError("nothing can lie between --start and --end", cause="the end is not later than the start")
    return start, end


def latest(source: Source) -> int | None:
    """The time of the last packet (ns since 1970 UTC), by reading everything; None where there is none."""
    found = None
    for chunk in source.chunks():
        if len(chunk.packets):
            last = int(chunk.packets["time"].max())
            found = last if found is None else max(found, last)
    return found
