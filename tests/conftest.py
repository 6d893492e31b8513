"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

from etwcap.native import library, use_backend

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")  # how long an example takes says nothing on a busy machine

CHECKOUT = Path(__file__).resolve().parents[1]
CORPUS = CHECKOUT.parent / "shared" / "corpus"


def missing(what: str) -> NoReturn:
    """End the test for want of something: in CI (CI=true) a failure, elsewhere a skip."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


def tool_path(name: str) -> str:
    """The absolute path of a program such as tshark, capinfos or editcap; on Windows a test without it is skipped."""
    found = shutil.which(name)
    if found is None:
        if sys.platform == "win32":
            pytest.skip(f"{name} is not installed on this Windows")
        missing(f"{name} is not installed")
    return found


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of real traces, which is no part of the checkout."""
    if not CORPUS.is_dir():
        pytest.skip("the folder of real traces (../shared/corpus) is not here")
    return CORPUS


def need_native_core() -> None:
    """Skip where the native core is not there or not wanted; fail in CI where it is wanted."""
    if os.environ.get("ETWCAP_NATIVE") == "0":
        pytest.skip("ETWCAP_NATIVE=0 leaves only the twin")
    if library() is None:
        missing("the native core is not built")


@pytest.fixture(params=["native", "twin"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the test on the native core, then on its twin."""
    name: str = request.param
    if name == "native":
        need_native_core()
    with use_backend(name):
        yield name


@pytest.fixture(scope="session")
def both_cores() -> None:
    """For a test that switches between the cores itself."""
    need_native_core()


@pytest.fixture(scope="session")
def tshark() -> str:
    """The path of tshark, the judge of what is written."""
    return tool_path("tshark")


@pytest.fixture(scope="session")
def capinfos() -> str:
    """The path of capinfos."""
    return tool_path("capinfos")
