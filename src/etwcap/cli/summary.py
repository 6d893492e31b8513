"""What ``etwcap convert`` says when it is done."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from etwcap.cli.failures import shown

if TYPE_CHECKING:
    from etwcap.packets import Description, Losses, Receipt
    from etwcap.pipeline.convert import Outcome

DAMAGES_SHOWN = 5

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def conversion_lines(outcome: Outcome, *, to_stdout: bool = False) -> list[str]:
    """The summary of a conversion: what was written, what was changed, what is lost or damaged."""
    receipt = outcome.receipt
    lines = [_written(outcome, to_stdout)]
    lines += [f"  {shown(note.text)}: {note.count:,}" for note in receipt.notes.values()]
    for description in outcome.descriptions:
        name = description.inputs[0].name if len(outcome.descriptions) > 1 and description.inputs else ""
        of_input = f" ({shown(name)})" if name else ""
        lines += [f"  {line}{of_input}" for line in [*losses_lines(description.losses), *damage_lines(description)]]
    return lines


def _written(outcome: Outcome, to_stdout: bool) -> str:
    receipt = outcome.receipt
    if outcome.output is None and not to_stdout:
        return "nothing was written: no packet could be read"
    name = "stdout" if outcome.output is None else shown(str(outcome.output))
    written = count(receipt.packets_written, "packet")
    if receipt.packets_read != receipt.packets_written:
        written += f" of {count(receipt.packets_read, 'sighting')}"
    return f"{name}: {written}, {size(receipt.bytes_written)}{_span(receipt)}"


def _span(receipt: Receipt) -> str:
    if receipt.first_time is None or receipt.last_time is None:
        return ""
    return f", {instant(receipt.first_time)} to {instant(receipt.last_time)} UTC"


def losses_lines(losses: Losses) -> list[str]:
    """What never reached the input, in words; empty where nothing is known to be lost."""
    counted = [
        count(number, what)
        for number, what in (
            (losses.events, "event"),
            (losses.buffers, "buffer"),
            (losses.sequence_gaps, "buffer missing in sequence"),
            (losses.report_gaps, "packet report"),
        )
        if number
    ]
    lines = [f"lost by Windows: {', '.join(counted)}"] if counted else []
    for known, text in (
        (losses.unclosed, "the session was never closed: names of components may be missing"),
        (losses.missing_end, "the end of the trace is missing"),
        (losses.partial_first, "the oldest events were overwritten (circular trace)"),
    ):
        if known:
            lines.append(text)
    return lines


def damage_lines(description: Description) -> list[str]:
    """The first places where the input is broken or not understood, and how many more there are."""
    lines = []
    for damage in description.damage[:DAMAGES_SHOWN]:
        label = "damaged" if damage.severity == "damage" else "not understood"
        passed = f", {size(damage.lost_bytes)} passed over" if damage.lost_bytes else ""
        lines.append(f"{label}: {shown(damage.file)} at byte {damage.offset:,}: {shown(damage.what)}{passed}")
    more = max(len(description.damage), description.damage_count) - len(lines)
    if more > 0:
        lines.append(f"and {count(more, 'place')} more: see --json, or etwcap info")
    return lines


def count(number: int, what: str) -> str:
    """ "1 packet", "2,705 packets"; the first word takes the plural."""
    first, *rest = what.split(" ")
    plural = "" if number == 1 else "s"
    return " ".join([f"{number:,}", f"{first}{plural}", *rest])


def size(octets: int) -> str:
    """Bytes as people read them, in powers of 1,000."""
    if octets < 1000:
        return count(octets, "byte")
    value = float(octets)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1000:.1f} TB"


def instant(time: int) -> str:
    """A time (ns since 1970 UTC) to the full nanosecond, without its trailing zeros beyond the millisecond."""
    seconds, rest = divmod(time, 1_000_000_000)
    fraction = f"{rest:09d}"
    fraction = fraction[:3] + fraction[3:].rstrip("0")
    return f"{_EPOCH + timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S}.{fraction}"
