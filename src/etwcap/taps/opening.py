"""The taps by name, and opening one or several as one source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from etwcap.errors import NotHereError, UsageError
from etwcap.packets import Context
from etwcap.taps.protocol import LOOPBACK, Changes, LiveTapSource, Tap, TapOptions
from etwcap.taps.raw import RawTap
from etwcap.taps.several import LiveMerge

OF_LOOPBACK: Final = ("wfp", "raw")
"""Taps that see the loopback: beside one that does not, they listen to nothing else."""
KEEPS_PRIVILEGES: Final = frozenset({"ndiscap"})
"""Taps that at the end undo what needs privileges: unbinding a driver may take SeLoadDriverPrivilege."""
_USUAL = TapOptions()


def all_taps() -> dict[str, Tap]:
    """Every tap that there is, by name, in the order in which they are listed."""
    from etwcap.taps.ndiscap import NdisCapTap
    from etwcap.taps.pktmon import PktMonTap
    from etwcap.taps.wfp import WfpTap

    return {each.name: each for each in (PktMonTap(), NdisCapTap(), WfpTap(), RawTap())}


def check_names(names: Sequence[str], known: Mapping[str, Tap]) -> None:
    """Raise UsageError where ``--tap`` names a tap that there is not."""
    for name in names:
        if name not in known:
            raise UsageError(f"there is no tap {name!r}", cause="--tap", hint=f"there are: {', '.join(known)}")


def share_interfaces(names: Sequence[str], interfaces: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """What each of several taps listens to: adapters are for those that see frames, the loopback for the others.

    So no packet comes twice for want of thought. One tap alone gets the interfaces as they were named. Raises
    UsageError where a tap is left without any.
    """
    named = tuple(interfaces)
    local = [name for name in names if name in OF_LOOPBACK]
    if not local or len(local) == len(names):
        return dict.fromkeys(names, named)
    adapters = tuple(name for name in named if name.casefold() != LOOPBACK)
    if named and not adapters:
        framed = next(name for name in names if name not in OF_LOOPBACK)
        raise UsageError(
            f"the tap {framed} does not see the loopback", cause="-i loopback", hint=f"--tap {local[0]} -i loopback"
        )
    return {name: (LOOPBACK,) if name in OF_LOOPBACK else adapters for name in names}


def open_taps(
    names: Sequence[str],
    interfaces: Sequence[str] = (),
    options: TapOptions = _USUAL,
    *,
    context: Context,
    taps: Mapping[str, Tap] | None = None,
    changes: Changes | None = None,
) -> LiveTapSource:
    """Begin to capture with these taps; of several, one timeline.

    ``interfaces`` are shared out by ``share_interfaces``; none of them: each tap's own choice. The source's packets are
    repaired as ``options`` says, with what is the tap's own fault; what concerns all packets (order, filters …) is for
    the caller's stages. Raises UsageError for a tap that there is not, RightsError, NotHereError and what the taps
    raise; then nothing stays open.
    """
    known = all_taps() if taps is None else taps
    if not names:
        raise UsageError("no tap is named", cause=f"there are: {', '.join(known)}")
    for name in names:
        if name not in known:
            raise UsageError(f"there is no tap {name!r}", cause=f"there are: {', '.join(known)}")
    if len(set(names)) < len(names):
        raise UsageError("a tap is named twice", cause=", ".join(names))
    shared = share_interfaces(names, interfaces)
    opened: list[LiveTapSource] = []
    try:
        for name in names:
            source = known[name].open(context, shared[name], options, changes)
            opened.append(source)
    except BaseException as error:
        for each in opened:
            each.stop()
            each.close()
        if isinstance(error, NotHereError) and not error.hint:
            error.hint = "etwcap taps tells what each way to capture lacks on this machine"
        raise
    for each in opened:
        description = each.describe()
        if not any(other is description for other in context.descriptions):
            context.descriptions.append(description)
    return opened[0] if len(opened) == 1 else LiveMerge(opened)
