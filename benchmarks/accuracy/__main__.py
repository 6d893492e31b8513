"""``python -m benchmarks.accuracy --captures FOLDER``: measure, print the page."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
from pathlib import Path

from benchmarks.accuracy import headers, order
from benchmarks.accuracy.document import document, load
from benchmarks.accuracy.jobs import header_score, mapping, order_score
from benchmarks.accuracy.report import Results, as_dict, failures, goals, page

SUFFIXES = (".pcap", ".pcapng", ".cap")
FINDINGS = 7


def _arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy",
        description="How well IPv6 headers and order are given back: every capture is recorded as raw sockets would "
        "have, converted, and compared with what it was.",
        epilog="Exit codes: 0 done, 1 packets could not be compared, 2 wrong usage, 7 a goal was missed (--check).",
    )
    parser.add_argument(
        "--captures",
        type=Path,
        action="append",
        metavar="FOLDER",
        help="a folder of captures, one folder for each origin in it; repeatable",
    )
    parser.add_argument("--origin", action="append", metavar="NAME", help="only this origin; repeatable")
    parser.add_argument(
        "--manner",
        action="append",
        choices=headers.MANNERS,
        help="how captures are recorded (default: all manners); repeatable",
    )
    parser.add_argument(
        "--part",
        choices=("headers", "order", "both"),
        default="both",
        help="what is measured (%(default)s; order needs tshark)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        action="append",
        help=f"of the disorder (default: {' and '.join(map(str, order.SEEDS))}); repeatable",
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all counts there")
    parser.add_argument("--document", type=Path, metavar="FILE", help="write the page of the documentation there")
    parser.add_argument(
        "--from",
        dest="kept",
        type=Path,
        action="append",
        metavar="FILE",
        help="tell what was kept there by --json, instead of measuring; repeatable",
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the page there too")
    parser.add_argument(
        "--failures", type=Path, metavar="FILE", help="write the packets that came back otherwise there, by cause"
    )
    parser.add_argument("--check", action="store_true", help=f"exit code {FINDINGS} where a goal was missed")
    return parser.parse_args(words)


def captures_in(folders: list[Path], origins: list[str] | None = None) -> list[tuple[str, Path]]:
    """Every capture with its origin: the name of the folder it lies in."""
    found = [
        (path.parent.name, path)
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.suffix in SUFFIXES and path.is_file()
    ]
    return [each for each in found if origins is None or each[0] in origins]


def measured(arguments: argparse.Namespace, command: str) -> Results | None:
    """Measure what is asked for; None: there are no captures."""
    captures = captures_in(arguments.captures or [], arguments.origin)
    if not captures:
        return None
    results = Results(command, datetime.datetime.now(datetime.timezone.utc).date().isoformat())
    with mapping(arguments.jobs) as each_of:
        if arguments.part != "order":
            jobs = [(*each, manner) for each in captures for manner in arguments.manner or headers.MANNERS]
            results.headers = [each for each in each_of(header_score, jobs) if each is not None]
        if arguments.part != "headers":
            seeded = [(*each, seed) for each in captures for seed in arguments.seed or order.SEEDS]
            results.order = list(each_of(order_score, seeded))
    return results


def main(words: list[str] | None = None) -> int:
    """Measure and tell; the exit code."""
    arguments = _arguments(words)
    command = "python -m benchmarks.accuracy " + " ".join(words if words is not None else sys.argv[1:])
    results = load(arguments.kept) if arguments.kept else measured(arguments, command)
    if results is None:
        print("no captures there", file=sys.stderr)
        return 2
    text = page(results)
    print(text)
    for path, content in (
        (arguments.markdown, text),
        (arguments.document, document(results)),
        (arguments.failures, failures(results)),
        (arguments.json, json.dumps(as_dict(results), indent=1)),
    ):
        if path is not None:
            path.write_text(content)
    for fault in results.faults:
        print(fault, file=sys.stderr)
    if arguments.check and not all(reached for *_, reached in goals(results)):
        return FINDINGS
    return int(bool(results.faults))


if __name__ == "__main__":
    sys.exit(main())
