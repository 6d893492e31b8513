"""What the scorer's processes do: one capture each time."""

from __future__ import annotations

import contextlib
import multiprocessing
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.accuracy import headers, order


@contextlib.contextmanager
def mapping(jobs: int) -> Iterator[Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]]:
    """``map`` over so many processes; one is this one. They begin afresh: a fork of a process with threads hangs."""
    if jobs <= 1:
        yield map
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        yield lambda work, given: pool.map(work, given, chunksize=2)


def header_score(job: tuple[str, Path, str]) -> headers.HeaderScore | None:
    """One capture in one manner, in a process of the pool."""
    origin, capture, manner = job
    with tempfile.TemporaryDirectory(prefix="etwcap-accuracy-") as folder:
        return headers.score(capture, origin, manner, Path(folder))


def order_score(job: tuple[str, Path, int]) -> order.OrderScore:
    """One capture with one seed, in a process of the pool."""
    origin, capture, seed = job
    with tempfile.TemporaryDirectory(prefix="etwcap-accuracy-") as folder:
        return order.score(capture, origin, seed, Path(folder))
