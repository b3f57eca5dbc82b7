"""Texts that a spreadsheet, a Markdown reader or a YAML constructor would take for something else."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import polars as pl
import pytest
import yaml

from advassay.csv_export import csv_text, defused_text, write_csv
from advassay.errors import SpecError
from advassay.report.output.markdown import escaped
from advassay.study import parse_study
from advassay.yaml_limits import load_limited


@pytest.mark.parametrize(
    "text", ["=1+1", "\uff1d1+1", "\uff0b1+1", "\uff0d1+1", "\uff20x", "\u200b=1", "\ufeff=1", " \u2060@x", "\t=1"]
)
def test_a_text_that_a_spreadsheet_would_run_is_defused(text: str) -> None:
    assert defused_text(text) == f"'{text}"
    assert csv_text(pl.DataFrame({"a": [text]})).splitlines()[1].strip('"').startswith("'")


@pytest.mark.parametrize("text", ["a;=1+1", "b\t=2", 'c";=3'])
def test_a_separator_within_a_text_begins_no_cell(text: str, tmp_path: Path) -> None:
    """Of a spreadsheet that takes semicolons or tabs: a cell begins within the text unless the text is in quotes."""
    frame = pl.DataFrame({"a": [text, None, ""], "n": [1, 2, 3]})
    write_csv(frame, tmp_path / "t.csv")
    written = (tmp_path / "t.csv").read_text()
    assert written == csv_text(frame)
    for separator in ";\t":
        for row in csv.reader(io.StringIO(written), delimiter=separator):
            assert not any(cell.startswith("=") for cell in row)
    assert pl.read_csv(tmp_path / "t.csv")["a"].to_list() == frame["a"].to_list()
    assert csv_text(pl.DataFrame({"a": ["plain"], "n": [1]})) == "a,n\nplain,1\n"


def test_markdown_takes_no_text_for_a_link_or_an_image() -> None:
    assert escaped("[x](javascript:y) ![z](w)") == "\\[x\\](javascript:y) \\!\\[z\\](w)"


@pytest.mark.parametrize(
    "value",
    [
        "!!timestamp x",
        "!!bool x",
        '!!float ""',
        '!!int ""',
        "!!int xyz",
        "!!timestamp 2001-99-99",
    ],
)
def test_a_value_that_its_tag_does_not_fit_is_refused_with_its_place(value: str) -> None:
    text = f"a: 1\nname: {value}\n"
    with pytest.raises(yaml.YAMLError) as refused:
        load_limited(text, yaml.SafeLoader)
    assert refused.value.problem_mark.line == 1  # type: ignore[attr-defined]
    with pytest.raises(SpecError):
        parse_study(text)
