"""Which words of a command line are inputs, which is the output, and which are the filter."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from etwcap.errors import InputError, OutputError, UsageError

OUTPUT_SUFFIXES = (".pcapng", ".pcap", ".cap")
"""A word that ends so can be the output; others need ``-w``."""

INPUT_SUFFIXES = (".etl", *OUTPUT_SUFFIXES)

STANDARD = "-"
"""stdin as an input, stdout as the output."""


class Words(NamedTuple):
    """The words of ``etwcap convert``, sorted."""

    inputs: list[str]
    output: str | None
    """None: not given"""
    filter: list[str]


def shell_words(words: Sequence[str]) -> list[str]:
    """The words with wildcards expanded where the shell leaves that to the program (Windows)."""
    if sys.platform != "win32":
        return list(words)
    expanded: list[str] = []
    for word in words:
        found = sorted(glob.glob(word)) if glob.has_magic(word) and not os.path.exists(word) else []
        expanded += found or [word]
    return expanded


def sort_words(words: Sequence[str], output: str | None) -> Words:
    """Sort the words: leading existing files are inputs; without ``output`` (of ``-w``) one further word that ends in
    a known suffix is the output; the rest is the filter.

    Raises UsageError where a word could be two things, InputError for a file that is not there.
    """
    count = 0
    while count < len(words) and _is_input(words[count]):
        count += 1
    inputs, rest = list(words[:count]), list(words[count:])
    if not inputs:
        raise _no_input(words)
    if output is None:
        if count > 1 and _ends_in(inputs[-1], OUTPUT_SUFFIXES):
            raise UsageError(
                f"is {inputs[-1]} an input or the output?",
                cause="it exists, and no -w names the output",
                hint=f"to replace it: etwcap convert {' '.join(inputs[:-1])} -w {inputs[-1]}"
                " · to read it too, name another output with -w",
            )
        outputs = [word for word in rest if _ends_in(word, OUTPUT_SUFFIXES)]
        if len(outputs) > 1:
            raise UsageError(
                "only one output can be written",
                cause=f"not there: {', '.join(outputs)}",
                hint="name the output with -w",
            )
        if outputs:
            output = outputs[0]
            rest.remove(output)
    for word in rest:
        if _ends_in(word, INPUT_SUFFIXES):
            raise _missing(word)
    return Words(inputs, output, rest)


def default_output(inputs: Sequence[str], capture_format: str | None) -> str:
    """The output where none is named: the first input's stem in the current folder.

    Raises OutputError where that file exists, since only an output that was named is replaced.
    """
    if inputs[0] == STANDARD:
        raise UsageError("standard input gives the output no name", hint="name the output with -w")
    stem = os.path.splitext(os.path.basename(inputs[0]))[0]
    name = f"{stem}.{capture_format or 'pcapng'}"
    if os.path.lexists(name):
        raise OutputError(
            f"{name} exists already",
            cause="an output that was not named is never replaced",
            hint=f"-w {name} replaces it",
        )
    return name


def _is_input(word: str) -> bool:
    return word == STANDARD or (os.path.exists(word) and not os.path.isdir(word))


def _ends_in(word: str, suffixes: tuple[str, ...]) -> bool:
    return word.lower().endswith(suffixes)


def _missing(word: str) -> InputError:
    if os.path.isdir(word):
        return InputError(f"{word} is a folder", hint="name the files in it")
    return InputError(f"{word} cannot be read", cause="there is no such file")


def _no_input(words: Sequence[str]) -> UsageError | InputError:
    if words:
        return _missing(words[0])
    return UsageError("there is nothing to convert", cause="no input was named", hint="etwcap convert trace.etl")
