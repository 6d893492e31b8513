"""The page of the documentation that tells what was measured, and results of earlier runs read back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.accuracy.headers import HeaderScore, Tally
from benchmarks.accuracy.order import OrderScore
from benchmarks.accuracy.report import Results, page, table
from benchmarks.capture_sets import SCORING, TUNING

TITLE = "# How exact rebuilt raw-socket recordings are"
TEXT = """
Raw sockets of Windows hand over IPv6 packets without their IPv6 header, late and out of order. What of that
[the rebuilder](ipv6-headers.md) and [causal order](order.md) give back was measured on captures whose headers are
known: each was recorded as raw sockets would have (as `synth` does with `--as raw`), converted, and compared packet by
packet with what it was. None of it was measured on Windows.

*Protocol right*: the Next Header of the rebuilt header is that of the last header that was taken away. *Unknown*: the
destination was left `::` and the packet is marked. *Wrong*: another address than the true one. *Published*: the
published method of guessing by good checksums alone, with the same addresses as candidates.

The captures made by scapy hold on purpose what cannot be known: ESP with several gateways whose keys were exchanged
before, fragments that miss a piece, checksums that are bad, protocol numbers that nobody has. Their shares say how the
rebuilder behaves there, not how often a real capture is like that. Captures made in network namespaces are real
traffic of Linux and of daemons, over links that leave checksums to the adapter, and over links that do not.

`made-hosts` shows one machine each: 2 to 400 peers, both directions, several conversations at once, as raw sockets on a
machine see it. It took the place of another set (20 captures, 13,105 packets: one-way tunnels and ESP to any of
hundreds of hosts, besides neighbours, routers and errors that have nothing to do with the machine); of that one the
protocol was right for 98.95 %, the destination for 82.57 % and wrong for 0.01 %. That is the figure to expect
where strangers' traffic was captured. The new set was made afresh with other seeds before it was scored; one
change of the rules came after that, and altered none of the figures. In some of these captures `synth` guesses
that the peers are the machine, and their tables then say so; the rebuilder had to live with that. Where only
half of the addresses stand in the tables as well, most of the wrong destinations of ESP come from it.

The order of packets is judged by tshark's flags of TCP analysis, keyed by addresses, ports, sequence and
acknowledgement numbers and length: those of the capture, of a recording with disorder (`--disorder`), and of the same
recording repaired. tshark flags TCP inside tunnels, too.

To make the captures again (needs Linux, root, and the packages it names), and to measure:

```text
scripts/capture-sets sets
python -m benchmarks.accuracy --captures sets/score
```
"""


def load(paths: Iterable[Path]) -> Results:
    """The results of earlier runs, kept with --json, together."""
    results = Results("", "")
    commands = []
    for path in paths:
        kept = json.loads(path.read_text())
        results.date = max(results.date, kept["date"])
        commands.append(kept["command"])
        results.headers += [_header_score(each) for each in kept["headers"]]
        results.order += [OrderScore(**{**each, "differences": []}) for each in kept["order"]]
    results.command = "`, `".join(commands)
    return results


def _header_score(kept: dict[str, Any]) -> HeaderScore:
    protocols = {name: Tally(**counts) for name, counts in kept["protocols"].items()}
    return HeaderScore(**{**kept, "total": Tally(**kept["total"]), "protocols": protocols, "failures": []})


def document(results: Results) -> str:
    """The whole page."""
    captures: Counter[str] = Counter()
    packets: Counter[str] = Counter()
    for each in results.headers:
        if each.manner == results.headers[0].manner:
            captures[each.origin] += 1
            packets[each.origin] += each.total.packets
    parts = [TITLE, TEXT.strip(), f"Measured on {results.date} by `{results.command}`."]
    for title, origins in (("scored", SCORING), ("tuned on", TUNING)):
        known = [name for name in origins if captures[name]]
        if known:
            rows: list[tuple[object, ...]] = [("origin", "captures", "IPv6 packets")]
            rows += [(f"{name}: {origins[name]}", captures[name], f"{packets[name]:,}") for name in known]
            parts.append(f"## Origins that were {title}\n\n{table(rows)}")
    for title, origins in (("Scoring origins", SCORING), ("Tuning origins", TUNING)):
        some = Results("", "", [], [])
        some.headers = [each for each in results.headers if each.origin in origins]
        some.order = [each for each in results.order if each.origin in origins]
        if some.headers or some.order:
            parts.append(f"## {title}\n\n{page(some).strip()}")
    return "\n\n".join(parts) + "\n"
