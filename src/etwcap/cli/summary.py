"""What ``etwcap convert`` says when it is done."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from etwcap.words import counts, octets, plural, safe_text

if TYPE_CHECKING:
    from etwcap.packets import Description, Losses, Receipt
    from etwcap.pipeline.convert import Outcome

DAMAGES_SHOWN = 5

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def conversion_lines(outcome: Outcome, *, to_stdout: bool = False) -> list[str]:
    """The summary of a conversion: what was written, what was changed, what is lost or damaged."""
    receipt = outcome.receipt
    lines = [_written(outcome, to_stdout)]
    lines += [f"  {safe_text(note.text)}: {note.count:,}" for note in receipt.notes.values()]
    for description in outcome.descriptions:
        name = description.inputs[0].name if len(outcome.descriptions) > 1 and description.inputs else ""
        of_input = f" ({safe_text(name)})" if name else ""
        lines += [f"  {line}{of_input}" for line in [*losses_lines(description.losses), *damage_lines(description)]]
    return lines


def _written(outcome: Outcome, to_stdout: bool) -> str:
    receipt = outcome.receipt
    if outcome.output is None and not to_stdout:
        return "nothing was written: no packet could be read"
    name = "stdout" if outcome.output is None else safe_text(str(outcome.output))
    written = plural(receipt.packets_written, "packet")
    if receipt.packets_read != receipt.packets_written:
        written += f" of {plural(receipt.packets_read, 'sighting')}"
    return f"{name}: {written}, {octets(receipt.bytes_written)}{_span(receipt)}"


def _span(receipt: Receipt) -> str:
    if receipt.first_time is None or receipt.last_time is None:
        return ""
    return f", {instant(receipt.first_time)} to {instant(receipt.last_time)} UTC"


def losses_lines(losses: Losses) -> list[str]:
    """What never reached the input, in words; empty where nothing is known to be lost."""
    counted = counts(
        (losses.events, "event"),
        (losses.buffers, "buffer"),
        (losses.sequence_gaps, "buffer missing in sequence", "buffers missing in sequence"),
        (losses.report_gaps, "packet report"),
    )
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
        passed = f", {octets(damage.lost_bytes)} passed over" if damage.lost_bytes else ""
        lines.append(f"{label}: {safe_text(damage.file)} at byte {damage.offset:,}: {safe_text(damage.what)}{passed}")
    more = max(len(description.damage), description.damage_count) - len(lines)
    if more > 0:
        lines.append(f"and {plural(more, 'place')} more: see --json, or etwcap info")
    return lines


def instant(time: int) -> str:
    """A time (ns since 1970 UTC) to the full nanosecond, without its trailing zeros beyond the millisecond."""
    seconds, rest = divmod(time, 1_000_000_000)
    fraction = f"{rest:09d}"
    fraction = fraction[:3] + fraction[3:].rstrip("0")
    return f"{_EPOCH + timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S}.{fraction}"
