"""The errors of Windows calls: the number, its name, and what to tell the person in front of it.

Numbers and meanings: Microsoft's "System Error Codes" and the pages of the calls named in the hints.
"""

from __future__ import annotations

from typing import NamedTuple, NoReturn

from etwcap.errors import NotHereError, RightsError, WindowsCallError

ELEVATE = "run it from a terminal that was started with 'Run as administrator'"


class CallRightsError(RightsError, WindowsCallError):
    """A Windows call failed because the process lacks rights."""


class CallNotHereError(NotHereError, WindowsCallError):
    """A Windows call failed because this machine cannot do it."""


class Code(NamedTuple):
    """A Win32 or Winsock error number: its name, what it means here, what to do."""

    name: str
    means: str
    hint: str = ""


CODES: dict[int, Code] = {
    1: Code("ERROR_INVALID_FUNCTION", "this Windows does not offer the call"),
    2: Code("ERROR_FILE_NOT_FOUND", "not found"),
    3: Code("ERROR_PATH_NOT_FOUND", "there is no such folder"),
    5: Code("ERROR_ACCESS_DENIED", "access denied", ELEVATE),
    6: Code("ERROR_INVALID_HANDLE", "the handle is closed or of another kind"),
    8: Code("ERROR_NOT_ENOUGH_MEMORY", "not enough memory"),
    24: Code("ERROR_BAD_LENGTH", "a length is wrong"),
    50: Code("ERROR_NOT_SUPPORTED", "not supported on this machine"),
    87: Code("ERROR_INVALID_PARAMETER", "a parameter is wrong, or too new for this Windows"),
    109: Code("ERROR_BROKEN_PIPE", "the other end of the pipe is closed"),
    111: Code("ERROR_BUFFER_OVERFLOW", "the table grew again and again while it was read"),
    112: Code("ERROR_DISK_FULL", "the disk is full", "free some space"),
    120: Code("ERROR_CALL_NOT_IMPLEMENTED", "this system does not implement the call (Wine says so)"),
    122: Code("ERROR_INSUFFICIENT_BUFFER", "the table grew again and again while it was read"),
    161: Code("ERROR_BAD_PATHNAME", "the file name is bad"),
    170: Code("ERROR_BUSY", "busy", "try again in a moment"),
    183: Code("ERROR_ALREADY_EXISTS", "it exists already", "'etwcap cleanup' ends what a crash left behind"),
    193: Code("ERROR_BAD_EXE_FORMAT", "the DLL or program is for another kind of processor"),
    231: Code("ERROR_PIPE_BUSY", "the pipe has another client"),
    232: Code("ERROR_NO_DATA", "there is nothing, or the pipe is being closed"),
    234: Code("ERROR_MORE_DATA", "the answer is longer than the room for it"),
    258: Code("WAIT_TIMEOUT", "nothing came in time"),
    536: Code("ERROR_PIPE_LISTENING", "nobody has connected to the pipe yet"),
    577: Code(
        "ERROR_INVALID_IMAGE_HASH",
        "Windows does not accept the signature of the driver",
        "the driver cannot be loaded under this machine's signing policy (Secure Boot); use another tap",
    ),
    995: Code("ERROR_OPERATION_ABORTED", "the call was cancelled"),
    997: Code("ERROR_IO_PENDING", "under way"),
    998: Code("ERROR_NOACCESS", "a callback failed"),
    1056: Code("ERROR_SERVICE_ALREADY_RUNNING", "the service runs already"),
    1058: Code("ERROR_SERVICE_DISABLED", "the service is disabled", "enable it: sc config NAME start= demand"),
    1060: Code("ERROR_SERVICE_DOES_NOT_EXIST", "there is no such service on this machine"),
    1062: Code("ERROR_SERVICE_NOT_ACTIVE", "the service does not run"),
    1072: Code("ERROR_SERVICE_MARKED_FOR_DELETE", "the service is being removed", "restart Windows"),
    1168: Code("ERROR_NOT_FOUND", "not found"),
    1223: Code("ERROR_CANCELLED", "cancelled"),
    1300: Code("ERROR_NOT_ALL_ASSIGNED", "the process does not hold the privilege", ELEVATE),
    1314: Code("ERROR_PRIVILEGE_NOT_HELD", "the process does not hold the privilege", ELEVATE),
    1450: Code(
        "ERROR_NO_SYSTEM_RESOURCES",
        "too many trace sessions on this machine, or the provider is used by eight of them",
        "list them with: logman query -ets",
    ),
    1460: Code("ERROR_TIMEOUT", "no answer in time"),
    1901: Code("ERROR_INVALID_TIME", "the end lies before the start"),
    4201: Code("ERROR_WMI_INSTANCE_NOT_FOUND", "there is no such trace session"),
    4206: Code("ERROR_WMI_ALREADY_ENABLED", "more than one real-time session in one call"),
    7007: Code("ERROR_CTX_CLOSE_PENDING", "closing is under way"),
    10004: Code("WSAEINTR", "the socket was closed during the call"),
    10013: Code("WSAEACCES", "raw sockets are for administrators", ELEVATE),
    10014: Code("WSAEFAULT", "an address or length is wrong"),
    10022: Code("WSAEINVAL", "the socket is not bound to an address of an interface that is there"),
    10024: Code("WSAEMFILE", "too many sockets are open"),
    10038: Code("WSAENOTSOCK", "this is no socket, or it is closed"),
    10040: Code("WSAEMSGSIZE", "the packet is longer than the room for it"),
    10042: Code("WSAENOPROTOOPT", "this Windows does not know the socket option"),
    10043: Code("WSAEPROTONOSUPPORT", "this system offers no raw socket of this kind"),
    10045: Code("WSAEOPNOTSUPP", "this system does not offer it for raw sockets (Wine never does)"),
    10047: Code("WSAEAFNOSUPPORT", "this machine has no such address family (is IPv6 switched off?)"),
    10048: Code("WSAEADDRINUSE", "the address is in use"),
    10049: Code("WSAEADDRNOTAVAIL", "the address is not on this machine, or a link-local one lacks its interface"),
    10055: Code("WSAENOBUFS", "not enough memory for the socket"),
}
"""What is known of the numbers that our calls can give."""

RIGHTS = {5, 1300, 1314, 10013}
"""Numbers that mean missing rights (exit code 5)."""
NOT_HERE = {1, 50, 120, 193, 577, 1060, 10042, 10043, 10045, 10047}
"""Numbers that mean that this machine cannot do it (exit code 6)."""


def failure(function: str, code: int, *, what: str = "", hint: str = "") -> WindowsCallError:
    """The error of a call, of the class that its number asks for.

    ``what`` says what was wanted ("the firewall rule cannot be added"), ``hint`` what to do where the call's own place
    knows better than the table.
    """
    known = CODES.get(code)
    kind = CallRightsError if code in RIGHTS else CallNotHereError if code in NOT_HERE else WindowsCallError
    return kind(
        function,
        code,
        what=what,
        means=f"{known.means} ({known.name}, {code})" if known else f"error {describe(code)}",
        hint=hint or (known.hint if known else ""),
    )


def describe(code: int) -> str:
    """The number as it is looked up: decimal, HRESULTs and NTSTATUS in hexadecimal."""
    return str(code) if 0 <= code < 0x10000 else f"0x{code & 0xFFFFFFFF:08X}"


def fail(function: str, code: int, *, what: str = "", hint: str = "") -> NoReturn:
    """Raise ``failure``."""
    raise failure(function, code, what=what, hint=hint)


def check(function: str, code: int, *fine: int, what: str = "", hint: str = "") -> int:
    """The number of a call that returns its error; raises WindowsCallError unless it is 0 or one of ``fine``."""
    if code != 0 and code not in fine:
        fail(function, code, what=what, hint=hint)
    return code


def message(code: int) -> str:
    """Name and meaning of a number in few words, for a table of conditions."""
    known = CODES.get(code)
    return f"{known.means} ({known.name})" if known else f"error {describe(code)}"
