"""No page, table, caption or verb counts patients where none are known; where some are, the others are left empty."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from simulate import Cohort, make_store
from typer.testing import CliRunner
from written_report import SMALL, SMALL_ARMS, Report

from advassay.cli.program import app
from advassay.records import open_records
from advassay.report import write_report
from advassay.report.comparison.comparison_page import write_comparison
from advassay.report.text import captions

UNKNOWN = tuple(replace(cohort, patients_known=False, images_per_patient=1) for cohort in SMALL)
SAID = (
    "patients not known", "Patients of", "No patient is known", "where known", "rows without a patient",
    "which column says who is a patient", "are phantoms made by the program",
)  # fmt: skip
"""What may still be said: that they are not known."""


def made(folder: Path, cohorts: tuple[Cohort, ...]) -> Report:
    store = make_store(folder / "store", cohorts, SMALL_ARMS)
    return Report(store, write_report(store))


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return made(tmp_path_factory.mktemp("without"), UNKNOWN)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """X-TB without patients, H-BR with two images of each."""
    return made(tmp_path_factory.mktemp("mixed"), (UNKNOWN[0], SMALL[1]))


def test_without_patients_the_report_does_not_count_them(without: Report) -> None:
    text = write_report(without.store, without.store / "r.md", "md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if re.search("patient", line, re.IGNORECASE)]
    assert [line for line in lines if not any(said in line for said in SAID)] == []
    assert "are not known: if some share a patient" in text
    headers = re.findall(r"<th[^>]*>([^<]*)</th>", without.html)
    assert "cohort" in headers
    assert not {"patients", "patient column"} & set(headers)


def test_with_patients_the_report_counts_them(report: Report) -> None:
    assert {"patients", "patient column"} <= set(re.findall(r"<th[^>]*>([^<]*)</th>", report.html))
    assert "a bootstrap over patients" in report.html


def test_tables_leave_the_counts_of_unknown_patients_empty(mixed: Report) -> None:
    for name in ("cohorts", "epsilon50", "success_by_epsilon", "performance"):
        table = mixed.table(name)
        assert table.filter(cohort="X-TB")["patients"].null_count() == table.filter(cohort="X-TB").height > 0, name
        assert table.filter(cohort="H-BR")["patients"].null_count() == 0, name
    selection = mixed.table("selection")
    assert dict(selection.select("cohort", "cluster").iter_rows()) == {"X-TB": None, "H-BR": "patient_id"}


def test_numbers_that_are_not_counts_of_patients_stay(mixed: Report, tmp_path: Path) -> None:
    known = (replace(UNKNOWN[0], patients_known=True), SMALL[1])
    other = made(tmp_path, known)
    counted = ("patients", "cluster")
    for name in ("cohorts", "epsilon50", "success_by_epsilon", "performance"):
        both = [one.table(name).drop(counted, strict=False) for one in (mixed, other)]
        assert both[0].equals(both[1]), name


def test_a_caption_says_of_which_points_the_patients_are_known() -> None:
    frame = pl.DataFrame({"n": [20, 30], "patients": [None, 10]})
    assert captions.sample(frame) == "n = 20–30 images of 10 patients where patients are known at each point"
    assert captions.sample(frame.head(1)) == "n = 20 images at each point"
    assert captions.sample(frame.tail(1)) == "n = 30 images of 10 patients at each point"


def test_the_json_report_holds_null_for_unknown_patients(mixed: Report) -> None:
    text = write_report(mixed.store, mixed.store / "r.json", "json").read_text(encoding="utf-8")
    details = [row for one in json.loads(text)["conclusions"] for row in one["details"] if "patients" in row]
    assert {row["cohort"] for row in details} == {"X-TB", "H-BR"}
    assert all((row["patients"] is None) == (row["cohort"] == "X-TB") for row in details)


def test_analyse_prints_no_patients_where_none_are_known(without: Report, report: Report) -> None:
    def printed(store: Path, *more: str) -> str:
        return CliRunner().invoke(app, ["analyse", str(store), *more]).stdout

    assert "patients" not in printed(without.store)
    assert "patients" in printed(report.store)
    assert {row["patients"] for row in json.loads(printed(without.store, "--json"))["rows"]} == {None}


def test_a_comparison_does_not_count_them_either(without: Report, tmp_path: Path) -> None:
    write_comparison([without.store, without.store], tmp_path / "c.html")
    page = (tmp_path / "c.html").read_text(encoding="utf-8")
    assert "patients" not in re.findall(r"<th[^>]*>([^<]*)</th>", page)
    assert "effective n" not in page


def test_the_intervals_do_not_depend_on_what_is_shown(without: Report) -> None:
    table = without.table("success_by_epsilon")
    assert set(table["method"]) == {"Wilson"}
    assert open_records(without.store).preparations["X-TB"].patients_known is False
