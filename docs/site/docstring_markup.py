"""Docstrings of this project as Markdown: doctests become code blocks, aligned tables of arguments become lists.

An extension of Griffe, which reads the docstrings for the API reference without importing the program.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from griffe import Extension, Object

ENTRY = re.compile(r"^(?P<name>[\w`\"'.,/… -]{1,40}?)\s{2,}(?P<text>\S.*)$")
"""A line of an aligned table: a name, two or more blanks, what it means."""


class DocstringMarkup(Extension):
    """Rewrites every docstring once, when its object has been read."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """`obj` with its docstring as Markdown."""
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """The docstring with fenced doctests and lists in place of aligned tables."""
    blocks = re.split(r"\n\s*\n", text)
    return "\n\n".join("\n".join(_block(block.split("\n"))) for block in blocks)


def _block(lines: list[str]) -> Iterator[str]:
    if any(line.lstrip().startswith(">>> ") for line in lines):
        yield from ("```pycon", *lines, "```")
        return
    in_list = False
    for line in lines:
        if found := ENTRY.match(line):
            if not in_list:
                yield ""
            in_list = True
            yield f"- `{found['name'].strip('`')}`: {found['text']}"
        elif in_list and line.startswith("  "):
            yield "    " + line.strip()
        else:
            if in_list:
                yield ""
            in_list = False
            yield line
