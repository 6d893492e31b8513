"""Small words for messages."""

from __future__ import annotations


def plural(number: int, word: str, words: str = "") -> str:
    """``1 packet``, ``2,705 packets``."""
    return f"{number:,} {word if number == 1 else words or word + 's'}"
