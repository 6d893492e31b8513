"""What the Windows Filtering Platform tells beside packets: authorised flows with their processes, and discards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from etwcap.packets import Context
from etwcap.packets.receipt import TextPool
from etwcap.words import plural

MOST_FLOWS: Final = 1 << 20
"""Authorisations that are kept."""

FLOW: Final = np.dtype(
    [
        ("time", np.int64),
        ("flow", np.uint64),
        ("process", np.uint64),
        ("path", np.int32),
        ("version", np.uint8),
        ("protocol", np.uint8),
        ("inbound", np.bool_),
        ("source", "V16"),
        ("destination", "V16"),
        ("source_port", np.uint16),
        ("destination_port", np.uint16),
        ("interface_luid", np.uint64),
    ]
)
"""One authorisation: ns since 1970 UTC; ``path`` is an index in ``Flows.paths``; IPv4 addresses are the
first 4 bytes."""

_NETWORK: Final = {
    1: "bad source address", 2: "not locally destined", 3: "protocol unreachable", 4: "port unreachable",
    5: "bad length", 6: "malformed header", 7: "no route", 8: "beyond scope", 9: "inspection drop (firewall)",
    10: "too many decapsulations", 11: "administratively prohibited", 128: "hop limit exceeded",
    129: "address unreachable", 130: "RSC packet", 256: "arbitration unhandled", 257: "inspection absorb",
    258: "don't fragment, MTU exceeded", 259: "buffer length exceeded", 260: "address resolution timeout",
    261: "address resolution failure", 262: "IPsec failure", 263: "extension headers failure",
    264: "allocation failure",
}  # fmt: skip
_TRANSPORT: Final = {
    0: "source unspecified", 1: "destination multicast", 2: "header invalid", 3: "checksum invalid",
    4: "endpoint not found", 5: "connected path", 6: "session state", 7: "receive inspection",
}  # fmt: skip
_MOST_REASONS: Final = 64
"""Kinds of discards that the receipt names."""
_MODULES: Final = {0: "network", 1: "transport", 2: "general"}
_REASONS: Final = {0: _NETWORK, 1: _TRANSPORT, 2: {0: "firewall policy", 1: "IPsec"}}
"""Discard reasons by module, as Microsoft's Message Analyzer names them (its WfpUtility parser)."""


def discard_name(module: int, reason: int) -> str:
    """ "network: no route", by the numbers of event 60050."""
    named = _REASONS.get(module, {}).get(reason) or f"reason {reason}"
    return f"{_MODULES.get(module, f'module {module}')}: {named}"


class Flows:
    """The flows that Windows authorised, in the order they were met: which process a flow handle belongs to.

    A handle may be used again once its flow is closed: the latest authorisation before a packet is the right one.
    """

    def __init__(self) -> None:
        self.left_out = 0
        """authorisations that found no place"""
        self._pool = TextPool()
        self.paths = self._pool.texts
        """programs, as Windows' device paths"""
        self._parts: list[NDArray[Any]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def table(self) -> NDArray[Any]:
        """All of them as rows of FLOW, in time order, each once."""
        rows = np.concatenate([np.empty(0, FLOW), *self._parts])
        _, first = np.unique(rows.view(f"V{FLOW.itemsize}"), return_index=True)
        rows = rows[np.sort(first)]
        return rows[np.argsort(rows["time"], kind="stable")]

    def add(self, time: NDArray[np.int64], fields: NDArray[np.void], paths: Sequence[bytes]) -> None:
        """Take in authorisations (rows of ``wfp_layout.ALE``) with their paths (UTF-16)."""
        room = MOST_FLOWS - self._count
        self.left_out += max(0, len(fields) - room)
        fields, time, paths = fields[:room], time[:room], paths[:room]
        rows = np.zeros(len(fields), FLOW)
        rows["time"] = time
        for name in ("flow", "process", "protocol", "source_port", "destination_port", "interface_luid"):
            rows[name] = fields[name]
        rows["inbound"] = fields["direction"] == 1
        size = fields.dtype["source"].itemsize
        rows["version"] = 4 if size == 4 else 6
        octets = rows.view(np.uint8).reshape(len(rows), FLOW.itemsize)
        for name in ("source", "destination"):
            at = FLOW.fields[name][1] if FLOW.fields else 0
            octets[:, at : at + size] = np.ascontiguousarray(fields[name]).view(np.uint8).reshape(len(rows), size)
        texts = [path.decode("utf-16-le", "replace").split("\0")[0] for path in paths]
        rows["path"] = [self._pool.add(text) for text in texts]
        self._parts.append(rows)
        self._count += len(rows)


class Discards:
    """Counts what was discarded, by module and reason."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._counts: Counter[tuple[int, int]] = Counter()

    def add(self, fields: NDArray[np.void]) -> None:
        """Take in events 60050 (rows of ``wfp_layout.DISCARD``)."""
        kinds = fields["module"].astype(np.uint64) << np.uint64(32) | fields["reason"]
        for kind, count in zip(*np.unique(kinds, return_counts=True), strict=True):
            self._counts[int(kind) >> 32, int(kind) & 0xFFFFFFFF] += int(count)

    def say(self) -> None:
        """Put the counts into the receipt, the most frequent first."""
        note = self._context.receipt.note
        for (module, reason), count in self._counts.most_common(_MOST_REASONS):
            note(f"wfp-discard-{module}-{reason}", f"discarded by Windows, {discard_name(module, reason)}", count)
        rest = self._counts.most_common()[_MOST_REASONS:]
        text = f"discarded by Windows for {plural(len(rest), 'other reason')}"
        note("wfp-discard", text, sum(count for _, count in rest))
