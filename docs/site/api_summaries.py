"""Writes the sentence after each name in docs/api: the first one of its docstring.

    python docs/site/api_summaries.py docs/api

The pages list every public name. On the site each entry becomes the reference of its name; in the repository the
sentence stands there. A test fails where one is not the docstring's.
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from importlib import import_module
from pathlib import Path
from typing import Any

ENTRY = re.compile(r"^- `(advassay\.[\w.]+)`(?::.*(?:\n  .*)*)?$", re.MULTILINE)


def names(text: str) -> list[str]:
    """The names that a page lists."""
    return ENTRY.findall(text)


def with_summaries(text: str) -> str:
    """The page with the sentence of each name written anew."""
    return ENTRY.sub(lambda match: _entry(match[1]), text)


def _entry(name: str) -> str:
    return textwrap.fill(f"- `{name}`: {_summary(_named(name))}", 120, subsequent_indent="  ", break_long_words=False)


def _named(name: str) -> Any:
    module, _, last = name.rpartition(".")
    return getattr(import_module(module), last)


def _summary(value: Any) -> str:
    """The first sentence of a docstring; its first line where a sentence does not end before the first empty line."""
    value = (
        type(value).__call__ if inspect.ismodule(value) else value
    )  # advassay.report is a package that can be called
    paragraph = (inspect.getdoc(value) or "").partition("\n\n")[0].replace("\n", " ")
    if not paragraph:
        raise ValueError(f"{value!r}: expected a docstring, got none")
    sentence = re.match(r".*?[.?!](?=\s+[A-Z`]|$)", paragraph)
    return (sentence[0] if sentence else paragraph).strip()


if __name__ == "__main__":
    for page in sorted(Path(sys.argv[1]).glob("*.md")):
        text = page.read_text(encoding="utf-8")
        page.write_text(with_summaries(text), encoding="utf-8")
