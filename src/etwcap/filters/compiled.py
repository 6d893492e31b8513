"""A filter ready to run: its tree, and its program for each link type that comes along."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from etwcap.errors import UsageError
from etwcap.filters.generate import MOST_INTERFACES, NotOnLinkError, generate
from etwcap.filters.parser import parse
from etwcap.filters.program import assemble, listing
from etwcap.filters.tree import Direction, Dropped, OfProcess, OnInterface, drawn, leaves
from etwcap.native.filter import INSTRUCTION, NOTHING
from etwcap.packets import linktypes


class Filter:
    """A compiled capture filter. Raises FilterError for an expression that cannot be understood."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.tree = parse(expression)
        found = list(leaves(self.tree)) if self.tree is not None else []
        self.interfaces = list(dict.fromkeys(leaf.name for leaf in found if isinstance(leaf, OnInterface)))
        """names after ``if``, in the order of their bits"""
        if len(self.interfaces) > MOST_INTERFACES:
            raise UsageError(f"filter: more than {MOST_INTERFACES} different interfaces")
        self.needs_facts = any(isinstance(leaf, Direction | Dropped | OnInterface | OfProcess) for leaf in found)
        self.needs_process = any(isinstance(leaf, OfProcess) for leaf in found)
        self.refused: dict[int, str] = {}
        """link types none of whose packets match, and why"""
        self.code: NDArray[Any] = np.zeros(0, INSTRUCTION)
        self._entries: dict[int, int] = {}

    def program(self, link_type: int) -> NDArray[Any]:
        """The program for a link type alone. Raises NotOnLinkError where the filter asks what it cannot answer."""
        if self.tree is None:
            raise ValueError("an empty filter has no program")
        return assemble(generate(self.tree, link_type, self.interfaces))

    def entry(self, link_type: int) -> int:
        """Where the program for that link type begins in ``code``, which grows as link types come along; NOTHING where
        none of its packets match."""
        known = self._entries.get(link_type)
        if known is not None:
            return known
        try:
            code = self.program(link_type)
        except NotOnLinkError as error:
            self.refused[link_type] = error.what
            first = NOTHING
        else:
            first = len(self.code)
            code["jt"] += first
            code["jf"] += first
            self.code = np.concatenate([self.code, code])
        self._entries[link_type] = first
        return first

    def explained(self, link_types: tuple[int, ...] = (linktypes.ETHERNET,)) -> list[str]:
        """The tree and the program for each link type, as lines of text."""
        if self.tree is None:
            return ["every packet"]
        lines = ["tree", *drawn(self.tree, "  ")]
        for link_type in link_types:
            lines += ["", f"program for {linktypes.title(link_type)}"]
            try:
                lines += ["  " + line for line in listing(self.program(link_type))]
            except NotOnLinkError as error:
                lines.append(f"  nothing matches: {error.what}")
        return lines
