"""The page of Windows calls names every call that is made, and none that is not."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "windows-verification.md"
PROGRAMS_AND_PARTS = {"netsh.exe", "WSARecvMsg", "SIO_RCVALL", "winreg", "user32.dll"}
"""What the page names besides functions, and what is called through an address or from C."""
C_CALL = re.compile(r"\b(WSA[A-Z]\w+|[A-Z][a-z]+[A-Z]\w+)\(")


def bound_functions() -> set[str]:
    """The names of functions in calls of ``Library.function`` and its kind, and of C's calls of Windows."""
    found = {"GetSystemDirectoryW"}  # by attribute: it is what all others are found by
    for path in (ROOT / "src" / "etwcap" / "windows").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
                found |= {
                    each.value
                    for each in node.args
                    if called in ("function", "has", "_mib_table", "_owners", "_name", "_peer", "Watch")
                    and isinstance(each, ast.Constant)
                    and isinstance(each.value, str)
                }
    for path in (ROOT / "src" / "etwcap" / "native").glob("rawsock*.c"):
        found |= set(C_CALL.findall(path.read_text(encoding="utf-8")))
    named = {"ConvertStringSecurityDescriptorToSecurityDescriptorW"}  # called through a variable
    return (found | named) - {"GetLastError"}


def listed_functions() -> set[str]:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    words = {word for row in rows for word in re.findall(r"`([^`]+)`", row)}
    calls = {word for word in words if re.fullmatch(r"\w+", word)}
    return calls - PROGRAMS_AND_PARTS


def test_the_page_lists_every_call_and_no_other() -> None:
    assert sorted(bound_functions() - listed_functions()) == []
    assert sorted(listed_functions() - bound_functions()) == []


def test_every_row_says_how_it_was_tried() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(("| `", "| reg"))]
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert len(cells) == 4, row
        assert cells[2].startswith(("Wine", "stand-in", "never")), row
