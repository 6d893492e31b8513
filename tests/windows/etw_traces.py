"""Traces of each packet provider with known packets, as files and as plays, and the stand-in that plays them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

from etw_play import Played, write_play
from etw_standin import build

from etwcap.synth.options import SynthOptions
from etwcap.synth.run import synthesize
from made_captures import capture

PACKETS, FEW = 2000, 40
ETHERNET, THREE = 7, 23
"""made-up captures: of one adapter; of mobile broadband, Wi-Fi and Ethernet"""
BUILDS = (19045, 22621, 26100)
"""of Windows, whose PktMon differ"""


class Traces(NamedTuple):
    """Where things are: NAME.etl and NAME.play in ``folder``."""

    folder: Path
    standin: Path
    played: dict[str, Played]

    def etl(self, name: str) -> Path:
        return self.folder / f"{name}.etl"

    def play(self, name: str) -> Path:
        return self.folder / f"{name}.play"


def make(folder: Path) -> Traces:
    """All of them: "pktmon", "ndiscap", "wfp", "both" (PktMon and NdisCap), "ndiscap-short", and "pktmon-BUILD"."""
    traces = Traces(folder, build(folder), {})
    many, few, three = (folder / f"{name}.capture" for name in ("many", "few", "three"))
    many.write_bytes(capture(ETHERNET, PACKETS))
    few.write_bytes(capture(ETHERNET, FEW))
    three.write_bytes(capture(THREE, PACKETS))
    options = {tap: SynthOptions(tap=tap, processors=4) for tap in ("ndiscap", "wfp")}
    for each in BUILDS:
        options[f"pktmon-{each}"] = SynthOptions(
            tap="pktmon", processors=4, os_build=each, appearances=4, drop_rate=0.05
        )
    options["pktmon"] = SynthOptions(tap="pktmon", processors=4)
    for name, how in options.items():
        synthesize(many if how.os_build == 26100 and how.appearances == 1 else three, traces.etl(name), how)
        traces.played[name] = write_play(traces.play(name), traces.etl(name))
    synthesize(few, traces.etl("ndiscap-short"), SynthOptions(tap="ndiscap", processors=4))
    traces.played["ndiscap-short"] = write_play(traces.play("ndiscap-short"), traces.etl("ndiscap-short"))
    traces.played["both"] = write_play(traces.play("both"), traces.etl("pktmon"), traces.etl("ndiscap"))
    return traces


@cache
def made_once(base: Path) -> Traces:
    """All of them, in a folder below ``base``, for every test that asks with the same one."""
    folder = base / "etw-traces"
    folder.mkdir()
    return make(folder)
