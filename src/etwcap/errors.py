"""Everything etwcap raises on purpose.

    EtwcapError                       exit code
    ├── UsageError                    2   the call itself is wrong
    ├── NotATraceError                1   the input is no capture that etwcap knows
    ├── InputError                    1   the input cannot be opened or read
    ├── OutputError                   1   the output cannot be written
    │   └── MixedLinkTypesError       1   a pcap file has one link type, the packets have several
    ├── NothingToWriteError           3   the input is intact, but no packet is left to write
    ├── NativeCoreError               1   ETWCAP_NATIVE=1 and the library is missing or unfit
    ├── WindowsCallError              1   a call of Windows failed (rights, machine: also one of the next two)
    ├── RightsError                   5   administrator rights are missing
    └── NotHereError                  6   this machine cannot do it (OS, driver, API)

A damaged input is no exception: what is intact is delivered and the damage stands in the receipt (exit code 4).
"""

from __future__ import annotations


class EtwcapError(Exception):
    """What failed, its cause (file and offset where there is one) and a hint: one line each."""

    exit_code = 1

    def __init__(self, what: str, *, cause: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.cause = cause
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what}: {self.cause}" if self.cause else self.what

    def lines(self) -> list[str]:
        """The message as shown to a person: what, cause, hint."""
        shown = [self.what]
        if self.cause:
            shown.append(self.cause)
        if self.hint:
            shown.append(f"hint: {self.hint}")
        return shown


class UsageError(EtwcapError):
    """The call itself is wrong."""

    exit_code = 2


class NotATraceError(EtwcapError):
    """The input is no capture that etwcap knows."""


class InputError(EtwcapError):
    """The input cannot be opened or read."""


class OutputError(EtwcapError):
    """The output cannot be written."""


class MixedLinkTypesError(OutputError):
    """A pcap file has one link type, the packets have several."""


class NothingToWriteError(EtwcapError):
    """The input is intact, but no packet is left to write."""

    exit_code = 3


class NativeCoreError(EtwcapError):
    """The native core was demanded and is missing or unfit."""


class WindowsCallError(EtwcapError):
    """A call of Windows failed: ``function``, ``code`` (Win32 or Winsock number, HRESULT, NTSTATUS), what it means."""

    def __init__(self, function: str, code: int, *, what: str = "", means: str = "", hint: str = "") -> None:
        said = f"{function}: {means or f'error {code}'}"
        super().__init__(what or said, cause=said if what else "", hint=hint)
        self.function = function
        self.code = code


class RightsError(EtwcapError):
    """Administrator rights are missing."""

    exit_code = 5


class NotHereError(EtwcapError):
    """This machine cannot do it: the OS, a driver or an API is missing."""

    exit_code = 6
