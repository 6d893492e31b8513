"""The bare walk of dissect.etl: read every record's header, do nothing with it. Prints records and seconds."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from dissect.etl import ETL  # type: ignore[import-untyped,unused-ignore]

start = time.perf_counter()
with Path(sys.argv[1]).open("rb") as file:
    count = sum(1 for _ in ETL(file))
print(count, time.perf_counter() - start)
