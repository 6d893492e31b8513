"""The sockets of a raw capture: one per interface and family, opened, watched, opened anew when addresses change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from etwcap.errors import NotHereError, RightsError, UsageError, WindowsCallError
from etwcap.native.rawsock import FAILED, GONE, RawReceiver, SocketCounts
from etwcap.packets import Receipt
from etwcap.taps.protocol import LOOPBACK
from etwcap.windows.adapters import Adapter, LocalAddress
from etwcap.windows.failure import failure
from etwcap.windows.winsock import (
    AF_INET,
    AF_INET6,
    IP_PKTINFO,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPV6_HOPLIMIT,
    IPV6_PKTINFO,
    IPV6_RECVTCLASS,
    RCVALL_IPLEVEL,
    RCVALL_ON,
    SO_RCVBUF,
    SOL_SOCKET,
    Winsock,
)

_WANTED_DATA = {6: (IPV6_PKTINFO, IPV6_HOPLIMIT, IPV6_RECVTCLASS), 4: (IP_PKTINFO,)}
_LEVEL = {6: IPPROTO_IPV6, 4: IPPROTO_IP}
_SMALLEST_BUFFER: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class SocketKinds:
    """Which sockets a capture opens. The default is what Windows wants; tests on a system without SIO_RCVALL give the
    protocols of each family and go without it."""

    protocols4: tuple[int, ...] = (IPPROTO_IP,)
    protocols6: tuple[int, ...] = (IPPROTO_IPV6,)
    receive_all: bool = True


class Place(NamedTuple):
    """Where one socket listens."""

    adapter: int
    """index of the adapter, of the family"""
    family: int
    """4 or 6"""
    protocol: int
    address: str
    scope: int


@dataclass(slots=True)
class OpenSocket:
    """A socket that captures."""

    place: Place
    number: int
    """what its records carry"""
    socket: int
    handle: int
    """what the receiver knows it by"""


def choose_adapters(adapters: Sequence[Adapter], names: Iterable[str]) -> list[Adapter]:
    """The adapters of these names (name, GUID, interface index, or "loopback"); of none: all that are up, but for the
    loopback. Raises UsageError for a name that there is not."""
    chosen: list[Adapter] = []
    for name in names:
        wanted = name.casefold()
        found = [each for each in adapters if wanted in _names(each)]
        if not found:
            known = ", ".join(sorted(repr(each.alias) for each in adapters if not each.loopback))
            raise UsageError(f"there is no interface {name!r}", cause=f"there are {known or 'none'}, and loopback")
        chosen += [each for each in found if each not in chosen]
    return chosen or [each for each in adapters if each.up and not each.loopback]


def _names(adapter: Adapter) -> set[str]:
    names = {adapter.alias.casefold(), adapter.guid.casefold()}
    names |= {str(index) for index in (adapter.index, adapter.index6) if index}
    return names | ({LOOPBACK} if adapter.loopback else set()) - {""}


def places(adapters: Iterable[Adapter], kinds: SocketKinds) -> list[Place]:
    """One address per adapter and family, with each protocol of the family.

    Of several addresses, all would show the same packets. IPv6: the link-local one, which is always there and stays.
    """
    found = []
    for adapter in adapters:
        for family, protocols in ((4, kinds.protocols4), (6, kinds.protocols6)):
            address = _pick(adapter.addresses, family)
            if address is not None:
                index = adapter.index if family == 4 else adapter.index6
                found += [Place(index, family, each, address.text, address.scope) for each in protocols]
    return found


def _pick(addresses: Sequence[LocalAddress], family: int) -> LocalAddress | None:
    mine = [each for each in addresses if each.in_use and (":" in each.text) == (family == 6)]
    stable = "fe80:" if family == 6 else ""
    unwanted = "169.254."
    return min(mine, key=lambda each: (not each.text.startswith(stable), each.text.startswith(unwanted)), default=None)


class SocketSet:
    """The open sockets of a capture, on one receiver.

    ``opened`` is told of every new one before it can have given a packet.
    """

    def __init__(
        self,
        receiver: RawReceiver,
        winsock: Winsock,
        receipt: Receipt,
        kinds: SocketKinds,
        *,
        receives: int,
        buffer: int,
        opened: Callable[[Place, int], None],
    ) -> None:
        self._receiver = receiver
        self._winsock = winsock
        self._receipt = receipt
        self._kinds = kinds
        self._receives = receives
        self._buffer = buffer
        self._opened = opened
        self._complained: set[tuple[Place, int]] = set()
        self.open: dict[Place, OpenSocket] = {}
        self._leaving: list[OpenSocket] = []
        self._past = SocketCounts(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        self._number = 0

    def want(self, wanted: Sequence[Place]) -> None:
        """Close the sockets that are not among these places, or have failed, and open those that are missing.

        A place where no socket can be opened is noted and tried again the next time. Raises the first failure where
        nothing is open in the end, and at once for want of rights.
        """
        for place, each in list(self.open.items()):
            counts = self._receiver.counts(each.handle)
            if place not in wanted or counts.state == FAILED:
                if counts.state == FAILED:
                    text = "sockets failed, most likely since their address went away, and were opened anew"
                    self._receipt.note("raw-socket-failed", text)
                self._let_go(place)
        first: WindowsCallError | None = None
        for place in wanted:
            if place not in self.open:
                try:
                    self._open(place)
                except WindowsCallError as error:
                    if isinstance(error, RightsError):
                        raise
                    first = first or error
                    self._note(place, error)
        if first is not None and not self.open:
            raise first

    def tend(self) -> None:
        """Close the sockets that the receiver has let go."""
        for each in list(self._leaving):
            counts = self._receiver.counts(each.handle)
            if counts.state == GONE:
                self._leaving.remove(each)
                self._past = _sum(self._past, counts)
                self._winsock.close(each.socket)

    def counts(self) -> SocketCounts:
        """All sockets together, those that are gone included."""
        total = self._past
        for each in [*self.open.values(), *self._leaving]:
            total = _sum(total, self._receiver.counts(each.handle))
        return total

    def close(self) -> bool:
        """End the receiver's thread and close the sockets; False where the thread does not end in time."""
        ended = self._receiver.stop()
        total = self.counts()
        for each in [*self.open.values(), *self._leaving]:
            self._winsock.close(each.socket)
        self.open.clear()
        self._leaving.clear()
        self._past = total
        return ended or self._receiver.stop()

    def _open(self, place: Place) -> None:
        winsock = self._winsock
        socket = winsock.socket(AF_INET if place.family == 4 else AF_INET6, place.protocol)
        try:
            winsock.bind(socket, place.address, scope=place.scope)
            self._widen(socket)
            for option in _WANTED_DATA[place.family]:
                try:
                    winsock.set_option(socket, _LEVEL[place.family], option, 1)
                except NotHereError:
                    text = "this Windows does not tell all of destination, hop limit and traffic class"
                    self._receipt.note("raw-socket-option", text)
            if self._kinds.receive_all:
                _receive_all(winsock, socket)
            number, self._number = self._number, self._number + 1
            self._opened(place, number)
            self.open[place] = OpenSocket(place, number, socket, self._hand_over(socket, number, place.family))
        except BaseException:
            winsock.close(socket)
            raise

    def _hand_over(self, socket: int, number: int, family: int) -> int:
        pointer = self._winsock.receive_message_pointer(socket)
        try:
            return self._receiver.add(socket, pointer, number=number, family=family, receives=self._receives)
        except OSError as error:
            raise failure("CreateIoCompletionPort", error.errno or 0) from error

    def _widen(self, socket: int) -> None:
        size = self._buffer
        while size >= _SMALLEST_BUFFER:
            try:
                return self._winsock.set_option(socket, SOL_SOCKET, SO_RCVBUF, size)
            except WindowsCallError:
                size //= 2
        return None

    def _let_go(self, place: Place) -> None:
        each = self.open.pop(place)
        self._receiver.remove(each.handle)
        self._leaving.append(each)

    def _note(self, place: Place, error: WindowsCallError) -> None:
        if (place, error.code) not in self._complained:
            self._complained.add((place, error.code))
            self._receipt.note(f"raw-socket-{place.address}", f"no raw socket on {place.address}: {error}")


def _receive_all(winsock: Winsock, socket: int) -> None:
    """All packets at IP level; where a Windows refuses that value, all packets."""
    try:
        winsock.receive_all(socket, RCVALL_IPLEVEL)
    except WindowsCallError as refused:
        try:
            winsock.receive_all(socket, RCVALL_ON)
        except WindowsCallError:
            raise refused from None


def _sum(a: SocketCounts, b: SocketCounts) -> SocketCounts:
    both = [x + y for x, y in zip(a, b, strict=True)]
    return SocketCounts(*both)._replace(state=b.state, last_error=b.last_error or a.last_error)
