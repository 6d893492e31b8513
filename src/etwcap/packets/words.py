"""Small words for messages."""

from __future__ import annotations


def plural(number: int, word: str, words: str = "") -> str:
    """``1 packet``, ``2,705 packets``."""
    return f"{number:,} {word if number == 1 else words or word + 's'}"


def safe_text(text: str, keep: str = "") -> str:
    """A name from a file with everything escaped that could steer a terminal or hide text: control and format
    characters (the bidirectional ones among them) and lone surrogates. Those in ``keep`` stay."""
    return (
        text
        if text.isprintable()
        else "".join(each if each.isprintable() or each in keep else ascii(each)[1:-1] for each in text)
    )
