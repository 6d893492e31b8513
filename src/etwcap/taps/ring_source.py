"""What all live sources behind a ring can say of themselves."""

from __future__ import annotations

from typing import Protocol

from etwcap.native.ring import Ring
from etwcap.packets import Description
from etwcap.taps.protocol import TapLosses


class LossyFeed(Protocol):
    """What fills a ring, and knows what did not come so far."""

    @property
    def ring(self) -> Ring:
        """The ring."""
        ...

    def losses(self) -> TapLosses:
        """Losses other than the ring's."""
        ...


class RingSource:
    """A live source's account: describe, progress, losses. Its losses stay as they were once it is closed."""

    def __init__(self, feed: LossyFeed, description: Description) -> None:
        self._account_of = feed
        self._description = description
        self._bytes = 0
        self._closed = False
        self._last_losses = TapLosses()

    def describe(self) -> Description:
        """The machine, and losses so far."""
        return self._description

    def progress(self) -> tuple[int, int]:
        """(bytes of records so far, 0)."""
        return self._bytes, 0

    def losses(self) -> TapLosses:
        """What was lost so far."""
        if not self._closed:
            counts = self._account_of.ring.counts()
            self._last_losses = self._account_of.losses() + TapLosses(counts.refused, counts.refused_bytes)
        return self._last_losses
