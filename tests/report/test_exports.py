"""Tables for spreadsheets and words for Markdown: what comes from a study file runs in neither."""

from __future__ import annotations

import polars as pl
import pytest

from advassay.csv_export import defused
from advassay.report.output.markdown import escaped
from advassay.report.output.write_report import as_csv


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", " =1", "\r=1"])
def test_a_text_that_a_spreadsheet_would_run_is_defused_in_every_csv(text: str) -> None:
    table = pl.DataFrame({"class": [text, "norm"], "rate": [-0.5, 0.5]})
    assert defused(table)["class"].to_list() == [f"'{text}", "norm"]
    assert defused(table)["rate"].to_list() == [-0.5, 0.5]
    assert f"'{text}" in as_csv({"t": table})["t"]


@pytest.mark.parametrize("text", ["-0.5", "+5", "1e-3", "-1E5", "norm", "", "a=b"])
def test_numbers_and_words_stay_as_they_are(text: str) -> None:
    table = pl.DataFrame({"class": [text, None]})
    assert defused(table).equals(table)


def test_a_columns_name_is_defused_too() -> None:
    assert defused(pl.DataFrame({"=x": [1]})).columns == ["'=x"]


def test_markdown_has_no_html_of_a_studys_names_and_one_line_a_cell() -> None:
    assert escaped("<script>\nalert(1)</script> & x") == "&lt;script&gt; alert(1)&lt;/script&gt; &amp; x"
