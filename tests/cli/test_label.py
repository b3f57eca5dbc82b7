"""`advassay label`: the command as written in the issue, on a table with every kind of bad row."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from advassay.cli import label
from advassay.cli.program import app

REPORTS = """report_id,findings,impression
1,The lungs are clear.,Normal chest.
2,Mild emphysema.,
3,,
4,Possible pneumonia.,
4,No pneumonia.,
"""


def run(folder: Path, *options: str, reports: str | bytes = REPORTS) -> Result:
    path = folder / "reports.csv"
    path.write_bytes(reports if isinstance(reports, bytes) else reports.encode())
    given = ["--text", "findings,impression", "--id", "report_id", "--language", "en"]
    return CliRunner().invoke(app, ["label", str(path), *given, "-o", str(folder / "labels.parquet"), *options])


def test_reports_become_a_table_that_only_its_owner_reads(tmp_path: Path) -> None:
    result = run(tmp_path, "--left-out", str(tmp_path / "lost.csv"))
    assert result.exit_code == 0, result.output
    labels = pl.read_parquet(tmp_path / "labels.parquet")
    assert labels["report_id"].to_list() == ["1", "2"]
    assert labels["norm"].to_list() == ["present", "absent"]
    assert (tmp_path / "labels.parquet").stat().st_mode & 0o777 == 0o600
    assert (
        pl.read_csv(tmp_path / "lost.csv")["reason"].to_list() == ["no report text"] + ["id with different texts"] * 2
    )
    assert "left out: id with different texts: 2" in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.parquet", "lost.csv", "reports.csv"]


def test_the_reference_page_names_the_columns_that_are_written(tmp_path: Path) -> None:
    run(tmp_path)
    written = pl.read_parquet(tmp_path / "labels.parquet").columns
    assert written == ["report_id", *list(label.COLUMNS)[1:]]


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--text", "finding"), 3, "There are: ['report_id', 'findings', 'impression']"),
        (("--id", "number"), 3, "got 'number'"),
        (("--language", "xx"), 3, "['en', 'es', 'ru']"),
        (("--language-column", "findings"), 2, "one of them"),
        (("-o", "labels.csv"), 2, "--output: expected a .parquet file"),
        (("-o", "nowhere/labels.parquet"), 2, "existing folder"),
    ],
)
def test_a_wrong_request_says_what_there_is(tmp_path: Path, options: tuple[str, ...], code: int, said: str) -> None:
    result = run(tmp_path, *options)
    assert result.exit_code == code
    assert said in result.output
    assert not (tmp_path / "labels.parquet").exists()


def test_a_table_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    result = run(tmp_path, reports="report_id,findings,impression\n1,Норма,\n".encode("cp1251"))
    assert result.exit_code == 3
    assert "UTF-8" in result.output
