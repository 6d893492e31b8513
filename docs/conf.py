"""How Sphinx builds the site of these pages: scripts/build-docs."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import etwcap

project = "etwcap"
author = "the etwcap authors"
release = version = etwcap.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]

html_theme = "furo"
html_title = f"etwcap {release}"
html_copy_source = False
html_show_copyright = False

myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": True}
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
# Names outside etwcap are not looked up: that would need the network.
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!etwcap\.).*"), (r"py:class", r"etwcap\.packets\.table\.T")]


class TableColumns(SphinxDirective):
    """``{table-columns} PacketTable``: the columns of a table with type, default and meaning."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """One docutils table."""
        columns: dict[str, Any] = getattr(etwcap, self.arguments[0]).SCHEMA
        rows = [("column", "type", "default", "meaning")]
        rows += [(name, kind.dtype.__name__, str(kind.default), kind.meaning) for name, kind in columns.items()]
        table = nodes.table()
        table += nodes.title(text=f"Columns of {self.arguments[0]}")
        group = nodes.tgroup(cols=4)
        table += group
        for width in (15, 10, 10, 65):
            group += nodes.colspec(colwidth=width)
        head, body = nodes.thead(), nodes.tbody()
        group += [head, body]
        for place, cells in enumerate(rows):
            row = nodes.row()
            for text in cells:
                row += nodes.entry("", nodes.paragraph(text=text))
            (body if place else head).append(row)
        return [table]


def shorten(
    _app: Sphinx, what: str, name: str, _object: object, _options: object, signature: str | None, result: str | None
) -> tuple[str | None, str | None]:
    """Signatures as they stand in the source: arrays by their short name; none for what is given and never made."""
    if what == "class" and name not in ("etwcap.ConvertOptions", "etwcap.Trace"):
        return "", None
    array = re.compile(r"ndarray\[tuple\[Any, \.\.\.\], dtype\[(\w+)\]\]")
    return signature and array.sub(r"NDArray[\1]", signature), result and array.sub(r"NDArray[\1]", result)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive and the shortening."""
    app.add_directive("table-columns", TableColumns)
    app.connect("autodoc-process-signature", shorten)
    return {"parallel_read_safe": True}
