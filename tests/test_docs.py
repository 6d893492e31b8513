"""The pages of docs/: every command and every line of Python on them runs, and gives what is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import doc_blocks
import etwcap
from conftest import tool_path
from doc_blocks import ROOT, Block
from etwcap import errors

PAGES = sorted((ROOT / "docs").glob("*.md"))


TEXTS = {page.stem: page.read_text(encoding="utf-8") for page in PAGES}
BLOCKS = {f"{name}:{block.line}": block for name, text in TEXTS.items() for block in doc_blocks.blocks(text)}
INLINE = sorted({command for text in TEXTS.values() for command in doc_blocks.inline_commands(text)})


def blocks_of(*kinds: str) -> pytest.MarkDecorator:
    """Runs a test on each block of these kinds."""
    places = [place for place, block in BLOCKS.items() if block.kind in kinds]
    return pytest.mark.parametrize("block", [BLOCKS[place] for place in places], ids=places)


class Room:
    """A folder with the files that the pages speak of, and how commands run in it."""

    def __init__(self, folder: Path) -> None:
        self.environment = doc_blocks.prepare(folder)
        self.folder = folder / "room"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Room:
    for program in ("bash", "tshark"):
        tool_path(program)
    return Room(tmp_path_factory.mktemp("docs"))


@pytest.fixture
def room(files: Room) -> Iterator[Room]:
    """The folder as it was at first, whatever the block before left in it."""
    with doc_blocks.left_as_found(files.folder):
        yield files


@blocks_of("console")
def test_a_console_block_shows_what_its_commands_print(room: Room, block: Block) -> None:
    results = doc_blocks.run_console(block.body, room.folder, room.environment)
    for step, (code, output) in zip(doc_blocks.steps(block.body), results, strict=True):
        if step.shown:
            assert output == step.shown, f"{step.command}: scripts/update-docs mends it"
        else:
            assert code == 0, f"{step.command}: {output}"


@blocks_of(*doc_blocks.SHELLS)
def test_a_shell_block_runs(room: Room, block: Block) -> None:
    tool_path(doc_blocks.SHELLS[block.kind][0])
    done = doc_blocks.run_shell(block.body, room.folder, room.environment, kind=block.kind)
    assert done.returncode == 0, done.stdout


@blocks_of("python")
def test_a_python_block_runs(room: Room, block: Block) -> None:
    done = doc_blocks.run_python(block.body, room.folder, room.environment)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("command", INLINE)
def test_a_command_in_running_text_runs(room: Room, command: str) -> None:
    done = doc_blocks.run_shell(command, room.folder, room.environment)
    assert done.returncode == 0, done.stdout


def test_commands_are_not_hidden_in_blocks_that_nobody_runs() -> None:
    for place, block in BLOCKS.items():
        shown_only = block.kind in ("powershell", "bat")
        if block.kind not in doc_blocks.RUN and not shown_only:
            assert not re.search(r"^\s*(?:\$ )?etwcap \w", block.body, re.MULTILINE), f"{place} is not run"


def test_every_page_is_reached_from_the_first() -> None:
    trees = [block.body for block in doc_blocks.blocks(TEXTS["index"]) if block.kind == ""]
    listed = {line for tree in trees for line in tree.splitlines()}
    assert set(TEXTS) - {"index"} <= listed, "a toctree of docs/index.md lists every page"


def test_the_exit_codes_of_the_errors_are_on_their_page() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.EtwcapError)]
    assert {1, 2, 3} <= {kind.exit_code for kind in kinds}
    for kind in kinds:
        assert re.search(
            rf"^\| {kind.exit_code} \||^Codes .*\b{kind.exit_code} \(", TEXTS["exit-codes"], re.MULTILINE
        ), kind


def test_the_library_page_has_every_public_name() -> None:
    shown = set(re.findall(r"^\.\. (?:auto\w+|py:function):: etwcap\.(\w+)", TEXTS["library"], re.MULTILINE))
    assert set(etwcap.__all__) - {"__version__"} <= shown


def test_the_pages_name_no_place_of_one_machine() -> None:
    for name, text in TEXTS.items():
        assert not re.search(r"(?<![\w.:/-])/(?:work|tmp|home|root)/", text), name


def test_the_files_that_the_pages_name_are_there() -> None:
    for name, text in TEXTS.items():
        for path in re.findall(r"(?<![\w/.-])((?:tests|scripts|fuzz|docs|examples|benchmarks|\.ci)/[\w./-]*\w)", text):
            assert (ROOT / path).exists(), f"{name}.md names {path}"
