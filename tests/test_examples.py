"""The files in examples/ are what their scripts make."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from conftest import CHECKOUT

EXAMPLES = CHECKOUT / "examples"


def test_the_sample_trace_is_what_its_script_writes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, EXAMPLES / "make_sample.py", tmp_path / "made.etl"], check=True, timeout=60)
    assert (tmp_path / "made.etl").read_bytes() == (EXAMPLES / "sample-pktmon.etl").read_bytes()
