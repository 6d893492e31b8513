"""The commands that would have captured packets fit the Windows that made the trace."""

from __future__ import annotations

import pytest

from etwcap.sources.absence import Seen, why_no_packets


@pytest.mark.parametrize(
    ("build", "first"),
    [
        (9200, "netsh trace start capture=yes"),
        (18363, "netsh trace start capture=yes"),
        (19041, "pktmon start --etw -p 0"),
        (19045, "pktmon start --etw -p 0"),
        (20348, "pktmon start --capture --pkt-size 0"),
        (26200, "pktmon start --capture --pkt-size 0"),
        (0, "pktmon start --capture --pkt-size 0"),
    ],
)
def test_the_first_command_is_one_that_this_windows_has(build: int, first: str) -> None:
    seen = Seen({}, [], {}, 0, build, unclosed=False, damaged=False, pktmon=None)
    assert why_no_packets(seen).commands[0].start.startswith(first)
