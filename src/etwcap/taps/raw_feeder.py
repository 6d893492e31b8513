"""What stands behind the ring of a raw capture: receiver, sockets, address tables, and the interfaces they become."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Interface, IPv6Interface
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from etwcap.errors import EtwcapError, WindowsCallError
from etwcap.native.rawsock import RawReceiver
from etwcap.native.ring import Ring
from etwcap.packets import Context, Interface
from etwcap.packets.linktypes import RAW_IP
from etwcap.providers.rawsocket_layout import LINK_TYPE
from etwcap.taps.address_tables import snapshot
from etwcap.taps.protocol import TapLosses, TapOptions
from etwcap.taps.raw_sockets import Place, SocketKinds, SocketSet, choose_adapters, places
from etwcap.windows.adapters import Adapter, adapters, servers
from etwcap.windows.iphlpapi import IpHelper, Watch
from etwcap.windows.winsock import Winsock

REFRESH: Final = 5.0
"""seconds between two readings of the address tables"""
SETTLE: Final = 0.25
"""seconds from a change of addresses to the next reading: changes come in swarms"""
_COARSE: Final = 1000
"""us: what is said of the stamps at least; waking a thread takes that long on a busy machine"""


class RawFeeder:
    """Sockets on the chosen adapters, and their receiver (protocol ``Feeder``).

    Opens on construction: raises what ``SocketSet.want`` raises, UsageError for an unknown interface; then nothing is
    left open.
    """

    def __init__(
        self,
        context: Context,
        interfaces: Sequence[str],
        options: TapOptions,
        kinds: SocketKinds,
        *,
        frequency: int,
        winsock: Winsock | None = None,
        helper: IpHelper | None = None,
        list_adapters: Callable[[IpHelper], list[Adapter]] = adapters,
    ) -> None:
        self._context = context
        self._names = tuple(interfaces)
        self._recording = options.raw_recording
        self._frequency = frequency
        self._helper = helper or IpHelper()
        self._list_adapters = list_adapters
        self._kinds = kinds
        self._map = np.zeros(0, np.int32)
        self._ours: list[Interface] = []
        self._changed = threading.Event()
        self._changed_at = self._read_at = time.monotonic()
        self._known: bytes | None = None
        self._watch: Watch | None = None
        self._adapters = self._list_adapters(self._helper)
        chosen = choose_adapters(self._adapters, self._names)
        self.ring = Ring(options.ring)
        try:
            self._receiver = RawReceiver(self.ring)
        except BaseException:
            self.ring.close()
            raise
        self._sockets = SocketSet(
            self._receiver,
            winsock or Winsock(),
            context.receipt,
            kinds,
            receives=options.receives,
            buffer=options.receive_buffer,
            opened=self._opened,
        )
        self._stopped = False
        try:
            wanted = places(chosen, kinds)
            if not wanted:
                raise _no_address(self._names)
            self._sockets.want(wanted)
            with contextlib.suppress(EtwcapError):  # without, the tables are read every few seconds all the same
                self._watch = self._helper.watch_addresses(lambda _kind: self._changed.set())
        except BaseException:
            self.close()
            raise

    @property
    def interface_of(self) -> NDArray[np.int32]:
        """The run's interface of each socket number."""
        return self._map

    def tend(self) -> NDArray[Any] | None:
        """Look after the sockets; the tables, when it is time to read them and they have changed."""
        self._sockets.tend()
        now = time.monotonic()
        if not self._changed.is_set():
            self._changed_at = now
        due = self._known is None or now - self._read_at >= REFRESH or now - self._changed_at >= SETTLE
        if not due:
            return None
        self._changed.clear()
        self._read_at = now
        self._reopen()
        self._describe()
        return self._fresh()

    def tables(self) -> NDArray[Any] | None:
        """The tables once more, for the end of a recording."""
        self._describe()
        return self._read() if self._recording else None

    def stop(self) -> bool:
        """End the receiver's thread and close the sockets."""
        if not self._stopped:
            self._stopped = self._sockets.close()
        return self._stopped

    def losses(self) -> TapLosses:
        """Receives that failed, and packets that were cut."""
        counts = self._sockets.counts()
        return TapLosses(failed=counts.errors, cut=counts.cut)

    def close(self) -> None:
        """Release everything; what a thread that does not end may still use stays."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()
        if self.stop():
            self._receiver.close()
            self.ring.close()

    def _reopen(self) -> None:
        """Sockets for the addresses as they are now."""
        try:
            self._adapters = self._list_adapters(self._helper)
            present = {name for name in self._names if _is_there(self._adapters, name)}
            chosen = choose_adapters(self._adapters, sorted(present)) if present or not self._names else []
            self._sockets.want(places(chosen, self._kinds))
        except (WindowsCallError, OSError) as error:
            self._context.receipt.note("raw-sockets-gone", f"there was a time without any raw socket: {error}")

    def _read(self) -> NDArray[Any] | None:
        try:
            return snapshot(self._helper, servers(self._helper))
        except EtwcapError as error:
            self._context.receipt.note("address-tables", f"the address tables could not be read: {error}")
            return None

    def _fresh(self) -> NDArray[Any] | None:
        rows = self._read()
        if rows is None or not len(self._map):
            return None
        data = rows.tobytes()
        if data == self._known:
            return None
        self._known = data
        return rows

    def _opened(self, place: Place, number: int) -> None:
        adapter = next(each for each in self._adapters if place.adapter in (each.index, each.index6))
        made = Interface(
            link_type=LINK_TYPE if self._recording else RAW_IP,
            name=adapter.alias + (f" IPv{place.family}" if self._recording else ""),
            mac=adapter.mac,
            speed=adapter.send_speed or 0,
            if_index=place.adapter,
            tap="raw",
        )
        for each in adapter.addresses:
            text = f"{each.text}/{each.prefix_length}"
            if ":" in each.text:
                made.ipv6.append(IPv6Interface(text))
            else:
                made.ipv4.append(IPv4Interface(text))
        key = ("raw", number) if self._recording else ("raw", adapter.luid)
        index = self._context.interfaces.add(made, key)
        if self._context.interfaces[index] is made:
            self._ours.append(made)
        self._map = np.append(self._map, np.int32(index))
        self._describe()

    def _describe(self) -> None:
        """How coarse the stamps are, as far as it has shown."""
        late = 0 if self._receiver.ended else self._receiver.busy() * 1_000_000 // self._frequency
        text = f"raw sockets; stamped in user mode, up to {max(late, _COARSE):,} us late"
        if not self._recording:
            text += "; IPv6 headers rebuilt"
        for each in self._ours:
            each.description = text


def _is_there(known: Sequence[Adapter], name: str) -> bool:
    try:
        return bool(choose_adapters(known, [name]))
    except EtwcapError:
        return False


def _no_address(names: Sequence[str]) -> EtwcapError:
    what = f"{', '.join(names)} has" if names else "no interface that is up has"
    return EtwcapError(
        "there is nothing to listen on",
        cause=f"{what} {'no' if names else 'an'} IP address",
        hint="etwcap taps lists what this machine has; -i loopback listens to the machine's own traffic",
    )
