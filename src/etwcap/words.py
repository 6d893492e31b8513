"""Small words for messages."""

from __future__ import annotations


def plural(number: int, word: str, words: str = "") -> str:
    """``1 packet``, ``2,705 packets``."""
    return f"{number:,} {word if number == 1 else words or word + 's'}"


def counts(*counted: tuple[int, str] | tuple[int, str, str]) -> list[str]:
    """Each number that is not 0 with its word, as :func:`plural` puts it."""
    return [plural(*each) for each in counted if each[0]]


def octets(number: int) -> str:
    """Bytes as people read them, in powers of 1,000: ``97.6 kB``."""
    if number < 1000:
        return plural(number, "byte")
    value = float(number)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1000:.1f} TB"


def safe_text(text: str, keep: str = "") -> str:
    """A name from a file with everything escaped that could steer a terminal or hide text: control and format
    characters (the bidirectional ones among them) and lone surrogates. Those in ``keep`` stay."""
    return (
        text
        if text.isprintable()
        else "".join(each if each.isprintable() or each in keep else ascii(each)[1:-1] for each in text)
    )
