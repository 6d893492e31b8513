"""The components that a capture with PktMon asks for, on the component trees of real machines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from etwcap.packets import Context
from etwcap.providers.pktmon import PktMonProvider
from etwcap.providers.pktmon_components import ComponentTree
from etwcap.repair.sightings import SightingStage
from etwcap.sources.etl import EtlSource
from etwcap.taps.pktmon_choice import NICS, choose
from event_feed import frames


def tree_of(source: EtlSource) -> ComponentTree:
    """What the trace's rundown told, which its source has read by its first chunk."""
    (provider,) = (each for each in source.decoder.providers if isinstance(each, PktMonProvider))
    return provider.tree


def kept(trace: Path, *, chosen_alone: bool) -> list[bytes]:
    """The packets of a trace, each once; of ``chosen_alone`` as if nothing else had reported."""
    context = Context()
    source = EtlSource(trace, context)
    stage = SightingStage(context)
    found: list[bytes] = []
    for chunk in source.chunks():
        if chosen_alone:
            ids = choose(tree_of(source), NICS, [], list).components
            components = np.array([each.component for each in context.points], np.int64)
            chunk.packets = chunk.packets.take(np.isin(components[chunk.packets["point"]], ids))
        found += frames(stage.process(chunk))
    rest = stage.finish()
    source.close()
    return found + (frames(rest) if rest is not None else [])


@pytest.mark.parametrize(("name", "packets"), [("pktmon-d.etl", 38), ("pktmon-e.etl", 260)])
def test_what_the_chosen_components_report_is_every_packet_at_the_wire(corpus: Path, name: str, packets: int) -> None:
    whole = kept(corpus / name, chosen_alone=False)
    assert len(whole) == packets
    assert kept(corpus / name, chosen_alone=True) == whole


@pytest.mark.parametrize(("name", "wifi"), [("pktmon-d.etl", False), ("pktmon-e.etl", True)])
def test_a_wifi_among_the_adapters_is_seen(corpus: Path, name: str, wifi: bool) -> None:
    source = EtlSource(corpus / name, Context())
    for _ in source.chunks():
        pass
    choice = choose(tree_of(source), NICS, [], list)
    source.close()
    assert choice.wifi == wifi
    assert choice.otherwise == NICS
