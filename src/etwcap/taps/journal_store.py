"""Where the journals lie: a folder that only administrators write, and a folder of each user."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from collections.abc import Callable, Collection
from functools import lru_cache
from pathlib import Path

from etwcap.errors import EtwcapError, NotHereError, OutputError, RightsError, WindowsCallError
from etwcap.taps.journal import UNFINISHED, USER_KINDS, Journal
from etwcap.windows import files, security
from etwcap.windows.failure import ELEVATE
from etwcap.windows.processes import Processes
from etwcap.windows.tokens import Tokens
from etwcap.windows.version import this_windows

_BINARY = getattr(os, "O_BINARY", 0)
_OPEN_ELSEWHERE = {5, 32}
"""ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION"""
_TRIES = 20
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)


def patiently(change: Callable[[], None], *, pause: float = 0.05) -> None:
    """Make a change of a file; Windows refuses while another process reads it, so up to 20 times, ``pause`` s apart."""
    for _ in range(_TRIES - 1):
        try:
            return change()
        except PermissionError:
            pass
        except WindowsCallError as error:
            if error.code not in _OPEN_ELSEWHERE:
                raise
        time.sleep(pause)
    return change()


class FolderStore:
    """The files of a journal in a folder; it is made when the first one is written."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def names(self) -> list[str]:
        """The names of all files; none where there is no folder."""
        try:
            return sorted(os.listdir(self.folder))
        except FileNotFoundError:
            return []

    def read(self, name: str, most: int) -> bytes:
        """Up to ``most`` bytes of a file of ours."""
        fd = os.open(self.folder / name, os.O_RDONLY | _BINARY | _NO_FOLLOW)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(f"{name} is no plain file")
            return file.read(most)

    def write(self, name: str, data: bytes) -> None:
        """Write the file beside its place, to the disk, and move it there."""
        try:
            self._write(name, data)
        except OSError as error:
            raise OutputError(
                "the journal cannot be written",
                cause=f"{self.folder}: {error.strerror or error}",
                hint="nothing is changed on this machine that could not be undone after a crash",
            ) from error

    def _write(self, name: str, data: bytes) -> None:
        self._prepare()
        new = self.folder / (name + UNFINISHED)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)
        fd = self._create(new)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        self._move(new, self.folder / name)

    def remove(self, name: str) -> None:
        """Remove a file; nothing happens where it is not there."""
        with contextlib.suppress(FileNotFoundError):
            patiently(lambda: os.unlink(self.folder / name))

    def _prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def _create(self, path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o600)

    def _move(self, source: Path, target: Path) -> None:
        if sys.platform == "win32":
            patiently(lambda: files.replace(str(source), str(target)))
            return
        os.replace(source, target)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class AdministratorsStore(FolderStore):
    """The journal whose entries are undone with administrators' rights: only what they own counts.

    ``%ProgramData%`` lets every user make folders, so a folder of ours that somebody else made first is refused.
    ``owners`` are the SIDs that may own the folders and files.
    """

    def __init__(self, folder: str | Path, owners: Collection[str]) -> None:
        super().__init__(folder)
        self._owners = owners

    def names(self) -> list[str]:
        """The names of all files; none where there is no folder."""
        if not self.folder.exists():
            return []
        self._check_folder(self.folder.parent)
        self._check_folder(self.folder)
        return super().names()

    def read(self, name: str, most: int) -> bytes:
        """Up to ``most`` bytes of a file that administrators own."""
        owner = security.owner(str(self.folder / name))
        if owner not in self._owners:
            raise EtwcapError("a file of the journal is not of administrators", cause=f"its owner is {owner}")
        return super().read(name, most)

    def _prepare(self) -> None:
        for folder in (self.folder.parent, self.folder):
            if not files.make_folder(str(folder), security.FOR_ADMINISTRATORS):
                self._check_folder(folder)
                security.protect(str(folder), security.FOR_ADMINISTRATORS)

    def _create(self, path: Path) -> int:
        return files.create_for_writing(str(path), security.FOR_ADMINISTRATORS)

    def _check_folder(self, folder: Path) -> None:
        if not files.plain_folder(str(folder)):
            raise EtwcapError("the journal's folder leads elsewhere", cause=f"{folder} is a link or no folder")
        owner = security.owner(str(folder))
        if owner not in self._owners:
            raise EtwcapError(
                "the journal's folder is not of administrators",
                cause=f"{folder} is owned by {owner}",
                hint=f"look into it, then remove it: rmdir /s {folder}",
            )


def administrators_store() -> AdministratorsStore:
    r"""The journal of this machine, ``%ProgramData%\etwcap\journal``; NotHereError where there is no Windows."""
    owners = {security.ADMINISTRATORS, security.LOCAL_SYSTEM, security.TRUSTED_INSTALLER}
    if this_windows().wine:
        owners.add(Tokens().user())  # Wine does not keep owners: everything is the one user's
    return AdministratorsStore(Path(files.known_folder(files.PROGRAM_DATA), "etwcap", "journal"), owners)


def user_store() -> FolderStore:
    r"""The journal of this user, ``%LocalAppData%\etwcap\journal``; NotHereError where there is no Windows."""
    return FolderStore(Path(files.known_folder(files.LOCAL_APP_DATA), "etwcap", "journal"))


def administrators_journal() -> Journal:
    """The journal of this process for changes of the machine; RightsError where it is not elevated.

    Always the same one: its file holds all that this process has changed, whichever part of it asks.
    """
    if not Tokens().elevated():
        raise RightsError("changes of this machine are for administrators", hint=ELEVATE)
    return _own_journal()


@lru_cache(maxsize=1)
def _own_journal() -> Journal:
    processes = Processes()
    return Journal(administrators_store(), processes.this(), program=processes.own_image())


def user_journal() -> Journal | None:
    """The journal of this process for the files that it writes; None where there is no Windows."""
    try:
        processes = Processes()
        return Journal(user_store(), processes.this(), program=processes.own_image(), kinds=USER_KINDS)
    except NotHereError:
        return None
