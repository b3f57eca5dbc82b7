"""docs/explanation/report-rules.md: what the page says of its examples is what the program reads."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from advassay.sources.reports import LABELS, ReportReader, load_vocabulary

PAGE = Path(__file__).parents[3] / "docs/explanation/report-rules.md"
LANGUAGES = {"English": "en", "Spanish": "es", "Russian": "ru"}


def examples() -> list[tuple[str, str, str, str]]:
    """Language, text, label and answer of every row of the page's tables."""
    found, language = [], ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            language = LANGUAGES.get(line.lstrip("# "), "")
        elif language and line.startswith("| ") and not line.startswith("| text"):
            text, label, answer = (cell.strip() for cell in line.split("|")[1:4])
            found.append((language, text.replace("⏎", "\n"), label.replace(" ", "_"), answer))
    return found


@functools.cache
def reader(language: str) -> ReportReader:
    return ReportReader(load_vocabulary(language))


def test_the_page_has_ten_examples_in_each_language() -> None:
    assert [sum(one[0] == language for one in examples()) for language in ("en", "es", "ru")] == [10, 10, 10]


@pytest.mark.parametrize(("language", "text", "label", "answer"), examples())
def test_an_example_is_read_as_the_page_says(language: str, text: str, label: str, answer: str) -> None:
    assert reader(language).read([text]).decisions[LABELS.index(label)] == answer
