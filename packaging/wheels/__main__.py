"""``python -m wheels``: compile the native core for each target, compose its wheel, check it."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from wheels.check import check, functions, target_of
from wheels.compose import compose, replace_library
from wheels.targets import Target, chosen

_FLAGS = ("-std=c11", "-O3", "-DNDEBUG", "-fvisibility=hidden", "-shared", "-s")
"""as CMakeLists.txt has them"""
_MINGW = ("x86_64-w64-mingw32-gcc", "-static-libgcc", "-Wl,--no-insert-timestamp")


def compiled(native: Path, target: Target, *, mingw: bool, cache: Path) -> bytes:
    """The library of one target from the sources in ``native``; raises CalledProcessError where the compiler fails."""
    command = [sys.executable, "-m", "ziglang", "cc", "-target", target.triple]
    if mingw and target.name == "win_amd64":
        command = [*_MINGW]
    if target.format == "Mach-O":
        command.append(f"-Wl,-install_name,@rpath/{target.library}")
    sources = sorted(each.name for each in native.glob("*.c"))
    settings = {"ZIG_GLOBAL_CACHE_DIR": str(cache.resolve()), "ZIG_LOCAL_CACHE_DIR": str(cache.resolve())}
    with tempfile.TemporaryDirectory() as folder:  # compilers leave import libraries beside their output
        output = Path(folder, target.library)
        command += [*_FLAGS, "-o", str(output), *sources]
        subprocess.run(command, cwd=native, env={**os.environ, **settings}, check=True)
        return output.read_bytes()


def main() -> int:
    """Build and check, or only check; the exit code is 1 where a wheel is not as it should be."""
    parser = argparse.ArgumentParser(prog="build-wheels")
    parser.add_argument("--native", type=Path, required=True, help="the sources of the native core")
    parser.add_argument("--pure", type=Path, help="the py3-none-any wheel to build from")
    parser.add_argument("--out", type=Path, help="folder for the wheels")
    parser.add_argument("--cache", type=Path, default=Path("zig-cache"), help="where zig keeps what it compiled")
    parser.add_argument("--only", default="", help="comma list of platforms; all of them if left out")
    parser.add_argument("--mingw", action="store_true", help="compile win_amd64 with MinGW")
    parser.add_argument("--check", type=Path, nargs="+", default=[], metavar="WHEEL", help="check these, build nothing")
    parser.add_argument(
        "--replace", type=Path, nargs=2, metavar=("WHEEL", "LIBRARY"), help="put a signed library into a wheel"
    )
    wanted = parser.parse_args()
    paths = list(wanted.check)
    if wanted.replace:
        wheel, library = wanted.replace
        replace_library(wheel, library.read_bytes(), target_of(wheel))
        paths.append(wheel)
    if not paths:
        wanted.out.mkdir(parents=True, exist_ok=True)
        for target in chosen(wanted.only):
            print(f"compiling for {target.name}", flush=True)
            library = compiled(wanted.native, target, mingw=wanted.mingw, cache=wanted.cache)
            paths.append(compose(wanted.pure, library, target, wanted.out))
    exports = functions(wanted.native)
    failed = False
    for path in paths:
        faults = check(path, exports)
        failed |= bool(faults)
        print(f"{path.name}: {path.stat().st_size:,} bytes, {'as it should be' if not faults else 'WRONG'}")
        for fault in faults:
            print(f"  {fault}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
