"""What modules say they export is there, documented, and complete."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from types import ModuleType

import pytest

import etwcap

NOT_MODULES = {"etwcap.__main__", "etwcap.native._etwcap"}
"""The script, and the shared library, which is no Python module."""
MODULES = ["etwcap", *(module.name for module in pkgutil.walk_packages(etwcap.__path__, "etwcap."))]


def load(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.mark.parametrize("name", sorted({*MODULES} - NOT_MODULES))
def test_every_exported_name_exists_once(name: str) -> None:
    exported = getattr(load(name), "__all__", [])
    assert len(set(exported)) == len(exported)
    for member in exported:
        getattr(load(name), member)


def test_the_front_door_exports_every_public_name_it_has() -> None:
    public = {name for name in dir(etwcap) if not name.startswith("_") and not inspect.ismodule(getattr(etwcap, name))}
    exported = {name for name in etwcap.__all__ if name != "__version__"}
    assert public - {"annotations", "TYPE_CHECKING"} <= exported


def test_every_exported_class_and_function_of_the_front_door_is_documented() -> None:
    members = {name: getattr(etwcap, name) for name in etwcap.__all__}
    undocumented = [
        name
        for name, member in members.items()
        if (inspect.isclass(member) or callable(member)) and not inspect.getdoc(member)
    ]
    assert undocumented == []


def test_the_tree_of_errors_is_drawn_with_their_exit_codes() -> None:
    errors = load("etwcap.errors")
    drawn = {name: int(code) for name, code in re.findall(r"(\w+Error) +(\d+) ", errors.__doc__ or "")}
    kinds = {
        name: getattr(kind, "exit_code", None)
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if kind.__module__ == "etwcap.errors" and name != "EtwcapError"
    }
    assert drawn == kinds


def test_a_star_import_gives_exactly_what_is_exported() -> None:
    code = "import etwcap\nnames = {}\nexec('from etwcap import *', names)\nassert set(etwcap.__all__) <= set(names)"
    subprocess.run([sys.executable, "-c", code], check=True, stdin=subprocess.DEVNULL)
