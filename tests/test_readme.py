"""The documents are right: links lead somewhere, commands exist, what is shown is what comes out."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import click
import pytest

from command_line import etwcap
from etwcap.cli.app import COMMANDS, EPILOG, app

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")


def anchors(document: Path) -> set[str]:
    """What a link may name behind ``#``, as GitHub makes it of the headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_resolve(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        linked = (document.parent / name).resolve() if name else document
        assert linked.exists(), f"{document.name} links to {target}"
        assert not anchor or anchor in anchors(linked), f"{document.name} links to {target}"


def shown_commands() -> list[str]:
    texts = [*re.findall(r"`(etwcap [^`]+)`", README), *re.findall(r"^\s*(etwcap .+)$", README, re.MULTILINE)]
    return sorted({text.replace("\\|", "|").split("|")[0].strip() for text in texts})


@pytest.mark.parametrize("line", shown_commands())
def test_commands_that_the_readme_shows_can_be_parsed(line: str) -> None:
    _, name, *words = shlex.split(line)
    command = app.get_command(click.Context(app), name)
    assert command is not None, f"no command {name}"
    if words and "--help" not in words:
        command.make_context(name, words)


def test_the_readme_lists_the_exit_codes_of_the_help() -> None:
    codes = set(re.findall(r"^ +(\d+) ", EPILOG, re.MULTILINE))
    listed = re.search(r"^Exit codes: (.+?)\n\n", README, re.MULTILINE | re.DOTALL)
    assert listed is not None
    assert set(re.findall(r"(?:^|, |,\n)(\d+) ", listed[1])) == codes


def test_the_readme_shows_every_command() -> None:
    assert {line.split()[1] for line in shown_commands()} == set(COMMANDS)


def command_of_section(heading: str) -> str:
    line: str = runpy.run_path(str(ROOT / ".ci" / "readme_command.py"))["command_of"](README, heading)
    return line


@pytest.mark.parametrize("heading", ["Try it", "Test"])
def test_the_two_sections_begin_with_one_line_that_sets_up_and_runs(heading: str) -> None:
    assert command_of_section(heading).startswith("python3 -m venv .venv && .venv/bin/pip install -q ")


def test_the_output_that_the_readme_shows_is_what_comes_out(tmp_path: Path) -> None:
    section = README.split("## Try it")[1].split("\n## ")[0]
    shown = re.search(r"^```text\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert shown is not None
    sample = Path("examples") / "sample-pktmon.etl"
    converted = etwcap("convert", ROOT / sample, "-w", "sample.pcapng", cwd=tmp_path)
    described = etwcap("info", sample.as_posix(), cwd=ROOT)
    assert (converted.returncode, described.returncode) == (0, 0)
    assert shown[1].rstrip() == (converted.stderr + described.stdout).rstrip(), "scripts/update-readme mends it"


def test_the_python_that_the_readme_shows_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    block = re.search(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert block is not None
    exec(compile(block[1], "README.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) > 10
