"""The promise of docs/reliability.md on files that were broken on purpose: a sample, the same one each time.

All cases, and those of other files: ``scripts/check-promise``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import CHECKOUT, need_native_core

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork: each case runs in a child")


def check(core: str, *arguments: str) -> str:
    """Run cases in a process of their own: it forks, which one with threads must not."""
    environment = {name: value for name, value in os.environ.items() if name != "ETWCAP_NATIVE"}
    environment["OPENBLAS_NUM_THREADS"] = "1"
    environment["PYTHONPATH"] = os.pathsep.join(each for each in sys.path if each)
    command = [sys.executable, str(CHECKOUT / "tests" / "damage_run.py"), "--core", core, *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=600)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-4000:]
    return ran.stdout


def test_broken_files_keep_the_promise() -> None:
    need_native_core()
    told = check("native", "--sample", "24", "--seed", "2")
    assert told.count(" 0 promises broken") == 8


def test_tshark_opens_what_is_left_of_broken_files(tshark: str) -> None:
    need_native_core()
    told = check("native", "--sample", "2", "--seed", "5", "--tshark", "2")
    assert told.count(" 0 promises broken") == told.count("; tshark opened ") == 8


def test_broken_files_keep_the_promise_with_the_twin() -> None:
    told = check("twin", "--sample", "12", "--seed", "3", "--small")
    assert told.count(" 0 promises broken") == 4


def test_real_traces_that_were_broken_keep_the_promise(corpus: Path) -> None:
    need_native_core()
    files = [str(corpus / name) for name in ("pktmon-d.etl", "ndiscap-a.etl", "wpp-0.etl", "tlg-b.etl")]
    told = check("native", "--sample", "12", "--seed", "4", *files)
    assert told.count(" 0 promises broken") == len(files)
