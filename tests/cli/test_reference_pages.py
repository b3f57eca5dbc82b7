"""docs/cli says what the program says, and nothing goes without its words."""

from __future__ import annotations

import inspect
import shlex
from pathlib import Path
from typing import Any

import pytest

from advassay.cli.program import app
from advassay.cli.reference_pages import COLUMNS, commands, pages, write

DOCS = Path(__file__).parents[2] / "docs" / "cli"
VERBS = list(commands())


def test_the_pages_are_what_the_program_writes() -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in DOCS.glob("*.md")}
    assert written == pages(), "run: python -m advassay.cli.reference_pages docs/cli"


def test_a_page_of_a_removed_verb_goes(tmp_path: Path) -> None:
    (tmp_path / "gone.md").write_text("old")
    write(tmp_path)
    assert not (tmp_path / "gone.md").exists()
    assert (tmp_path / "run.md").exists()


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_verb_has_words_and_an_example_that_parses(verb: Any) -> None:
    text, _, example = inspect.cleandoc(verb.help).partition("Example:")
    assert len(text.split()) >= 8
    program, name, *arguments = shlex.split(example.strip().partition(" > ")[0])
    assert (program, name) == ("advassay", verb.name)
    verb.make_context(name, arguments)  # raises where an option does not exist


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_option_and_argument_has_words(verb: Any) -> None:
    silent = [parameter.name for parameter in verb.params if not parameter.help]
    assert silent == []


def test_every_verb_that_prints_json_documents_its_columns() -> None:
    printing = {verb.name for verb in VERBS if any("--json" in p.opts for p in verb.params)}
    assert printing == COLUMNS.keys()
    assert all(meaning for columns in COLUMNS.values() for meaning in columns.values())


def test_the_program_has_no_verb_outside_the_reference() -> None:
    assert len(VERBS) == len(app.registered_commands)
