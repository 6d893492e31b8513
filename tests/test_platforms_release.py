"""The files that make a release: they call what is there, pin what they take, and agree with each other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def requirements(path: str) -> dict[str, str]:
    """Name and the rest of each requirement."""
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("==") for line in lines if line and not line.startswith("#"))
    return {name: rest for name, _, rest in pairs}


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned_by_its_full_version(workflow: Path) -> None:
    used = re.findall(r"uses: (\S+)", workflow.read_text(encoding="utf-8"))
    assert used
    assert [each for each in used if not re.fullmatch(r"[\w/.-]+@v\d+\.\d+\.\d+", each)] == []


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_file_of_the_project_that_a_workflow_names_is_there(workflow: Path) -> None:
    text = workflow.read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w/.-])((?:scripts|packaging|examples|src|\.ci)/[\w./-]*\w)", text))
    assert named
    assert [each for each in sorted(named) if not (ROOT / each).exists() and "_etwcap." not in each] == []


def test_what_lies_in_the_folder_for_windows_is_pinned_by_hash() -> None:
    pinned = requirements("packaging/windows-folder/requirements.txt")
    assert set(pinned) == {"numpy", "click", "colorama"}
    assert all(re.fullmatch(r"[0-9.]+ --hash=sha256:[0-9a-f]{64}", rest) for rest in pinned.values())


def test_the_folder_has_the_packages_that_were_tested_under_wine() -> None:
    tested = requirements("tests/windows/requirements.txt")
    for name, rest in requirements("packaging/windows-folder/requirements.txt").items():
        assert rest.split(" ")[0] == tested[name]


def test_the_page_on_installing_names_the_tags_of_the_wheels() -> None:
    from wheels.targets import TARGETS

    page = (ROOT / "docs" / "installing.md").read_text(encoding="utf-8")
    for target in TARGETS.values():
        stem = target.file_tag if target.format == "PE" else target.tags[-1].removesuffix(target.name.split("_", 1)[1])
        assert f"py3-none-{stem}" in page
