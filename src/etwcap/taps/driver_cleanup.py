"""Changes of drivers, each undone by what knows its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from etwcap.errors import EtwcapError
from etwcap.taps.journal import Entry
from etwcap.windows.processes import ProcessIdentity

if TYPE_CHECKING:
    from etwcap.taps.cleanup import Undoer


class Drivers:
    """Several undoers as one: a change is undone by the first that knows its name (protocol ``Undoer``)."""

    def __init__(self, undoers: Sequence[Undoer]) -> None:
        self._undoers = list(undoers)

    def owner(self, name: str) -> ProcessIdentity | None:
        """The process in a change's name."""
        return next((found for each in self._undoers if (found := each.owner(name)) is not None), None)

    def find(self) -> list[str]:
        """The names of all that is ours."""
        return [name for each in self._undoers for name in each.find()]

    def there(self, name: str) -> bool:
        """Whether the change is in force."""
        return self._of(name).there(name)

    def undo(self, entry: Entry) -> None:
        """Undo it."""
        self._of(entry.name).undo(entry)

    def _of(self, name: str) -> Undoer:
        for each in self._undoers:
            if each.owner(name) is not None:
                return each
        raise EtwcapError("no tap of this version changes a driver under that name", cause=name)
