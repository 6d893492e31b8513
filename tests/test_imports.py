"""Imports point down the list of rooms, and starting up imports nothing slow."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "etwcap"

ROOMS = (
    "__init__",
    "cli",
    "taps",
    "inspect",
    "synth",
    "pipeline",
    "sources",
    "sinks",
    "repair",
    "filters",
    "providers",
    "etl",
    "packets",
    "windows",
    "native",
)
"""From the top down; ``errors``, ``words`` and ``_version`` lie below all of them, ``__main__`` above."""
LEVEL = {name: level for level, name in enumerate(("__main__", *ROOMS, "errors", "words", "_version"))}

MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else path.stem


def imported_rooms(path: Path) -> Iterator[tuple[int, str]]:
    """Line and room of every import of etwcap in the module, wherever in it it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names = [node.module or ""]
            if node.module == "etwcap":
                names = [f"etwcap.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            first, *rest = name.split(".")
            if first == "etwcap":
                yield node.lineno, rest[0] if rest and rest[0] in LEVEL else "__init__"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down_the_list_of_rooms(path: Path) -> None:
    here = LEVEL[room_of(path)]
    upward = [f"line {line}: {room}" for line, room in imported_rooms(path) if LEVEL[room] < here]
    assert upward == []


def test_every_folder_of_the_package_is_a_room_and_the_other_way_round() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/*.py")}
    assert folders == set(ROOMS) - {"__init__"}


def test_architecture_lists_the_rooms_in_the_same_order() -> None:
    table = re.findall(
        r"^\| `(\w+)(?:/|\.py)` \|", (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert table == [*ROOMS, "errors", "words"]


def modules_after(statement: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after the statement."""
    code = f"import sys\n{statement}\nsys.stderr.write('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
    )
    return set(done.stderr.split("\n"))


@pytest.mark.parametrize(
    "statement",
    [
        "import etwcap",
        "import etwcap.cli",
        "from etwcap.cli import main; main(['--help'])",
        "from etwcap.cli import main; main(['--version'])",
        "from etwcap.cli import main; main(['convert', '--help'])",
        "from etwcap.cli import main; main(['info', '--help'])",
        "from etwcap.cli import main; main(['completion', '--help'])",
    ],
)
def test_starting_up_loads_neither_numpy_nor_another_slow_module(statement: str) -> None:
    slow = {"numpy", "rich", "importlib.metadata", "asyncio", "email", "http.client", "xml"}
    assert modules_after(statement) & slow == set()


def test_help_of_the_group_loads_no_command() -> None:
    loaded = modules_after("from etwcap.cli import main; main(['--help'])")
    assert {"etwcap.cli.convert", "etwcap.cli.info", "etwcap.cli.completion"} & loaded == set()
