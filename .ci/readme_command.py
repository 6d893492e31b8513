"""Prints the command of a section of README.md: the one line of its first ``sh`` block."""

from __future__ import annotations

import re
import sys
from pathlib import Path


def command_of(readme: str, heading: str) -> str:
    """The line; raises SystemExit where the section, the block or its one line is missing."""
    section = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", readme, re.MULTILINE | re.DOTALL)
    if section is None:
        raise SystemExit(f"README.md has no section {heading!r}")
    block = re.search(r"^```sh\n(.*?)^```$", section[1], re.MULTILINE | re.DOTALL)
    lines = block[1].splitlines() if block else []
    if len(lines) != 1:
        raise SystemExit(f"section {heading!r} of README.md begins with {len(lines)} lines of commands, not one")
    return lines[0]


if __name__ == "__main__":
    print(command_of(Path("README.md").read_text(encoding="utf-8"), sys.argv[1]))
