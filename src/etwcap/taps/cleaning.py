"""``cleanup`` of this machine: the administrators' journal where rights allow, and the user's."""

from __future__ import annotations

from etwcap.errors import RightsError
from etwcap.taps.cleanup import CleanupReport, cleanup, left_behind, undoers
from etwcap.taps.journal import USER_KINDS
from etwcap.taps.journal_store import administrators_store, user_store
from etwcap.windows.processes import Processes
from etwcap.windows.tokens import Tokens


def clean_this_machine() -> CleanupReport:
    """End what processes that no longer run left behind. Raises RightsError where the process is not elevated and
    something is left that needs it, NotHereError off Windows."""
    alive = Processes().alive
    elevated = Tokens().elevated()
    if not elevated and left_behind(administrators_store(), alive):
        raise RightsError(
            "what captures left behind can only be ended by an administrator",
            cause="the journal of this machine has entries of processes that no longer run",
            hint="run etwcap cleanup elevated",
        )
    report = cleanup(user_store(), {}, alive, kinds=USER_KINDS)
    if elevated:
        machine = cleanup(administrators_store(), undoers(), alive)
        report.items += machine.items
        report.strange += machine.strange
    return report
