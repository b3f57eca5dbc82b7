"""docs/api lists every public name with the first sentence of its docstring."""

from __future__ import annotations

import pytest
from documented_pages import ROOT, site_tool

import advassay as aa

PAGES = sorted((ROOT / "docs" / "api").glob("*.md"))
TOOL = site_tool("api_summaries")


def test_every_public_name_is_listed() -> None:
    listed = {name for page in PAGES for name in TOOL.names(page.read_text(encoding="utf-8"))}
    assert {f"advassay.{name}" for name in aa.__all__} - {"advassay.__version__", "advassay.AdvassayError"} <= listed
    assert "advassay.errors.AdvassayError" in listed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_sentence_is_the_docstring_s(page) -> None:
    text = page.read_text(encoding="utf-8")
    assert TOOL.with_summaries(text) == text, "run: python docs/site/api_summaries.py docs/api"
