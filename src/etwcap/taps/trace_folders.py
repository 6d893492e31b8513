"""Folders for the traces that programs of Windows write whether or not anybody wants them."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from etwcap.errors import EtwcapError
from etwcap.windows import files

_FOR_ADMINISTRATORS_ALONE = "O:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)"
"""packets lie in it: nobody else reads them"""


class TraceFolders:
    """Folders for traces that nobody reads, which netsh and
    pktmon.exe must write somewhere: one for each name, administrators' alone.

    For tests: ``base`` is where they lie, ``make`` makes one (False where its name is taken), ``patience`` in s.
    """

    def __init__(
        self,
        base: Callable[[], str] | None = None,
        make: Callable[[str], bool] | None = None,
        *,
        patience: float = 1.0,
    ) -> None:
        self._base = base or (lambda: str(Path(files.known_folder(files.PROGRAM_DATA), "etwcap")))
        self._make = make or (lambda path: files.make_folder(path, _FOR_ADMINISTRATORS_ALONE))
        self._patience = patience

    def path(self, name: str) -> str:
        """Where the folder of that name is or would be."""
        return os.path.join(self._base(), name)

    def names(self) -> list[str]:
        """The names in the place where the folders lie."""
        try:
            return sorted(os.listdir(self._base()))
        except OSError:
            return []

    def make(self, name: str) -> str:
        """Make it; its path. Raises EtwcapError where something has the name."""
        path = self.path(name)
        if not self._make(path):
            raise EtwcapError("a folder for a trace cannot be made", cause=f"{path} is there already")
        return path

    def there(self, name: str) -> bool:
        """Whether it is there."""
        return os.path.lexists(self.path(name))

    def remove(self, name: str) -> bool:
        """Remove it and what is in it; False where one of them stays in use."""
        end = time.monotonic() + self._patience  # who looks at new files for viruses holds them for a moment
        while not _removed(self.path(name)):
            if time.monotonic() >= end:
                return False
            time.sleep(0.1)
        return True


def _removed(path: str) -> bool:
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return not os.path.lexists(path)
