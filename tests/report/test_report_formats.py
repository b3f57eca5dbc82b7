"""Other formats say what the page says."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from simulate import make_store
from written_report import SMALL, SMALL_ARMS, Report

from advassay.analysis import Conclusion, unit_outcomes
from advassay.errors import ReportError, SpecError
from advassay.report import gather, write_report
from advassay.report.data.findings import Findings
from advassay.report.output.markdown import table
from advassay.report.output.write_report import Format
from advassay.report.tables.column_labels import Column, grid
from advassay.report.tables.table import tables


@pytest.fixture(scope="module")
def found(report: Report) -> Findings:
    return gather(report.store)


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing has its own tests."""
    monkeypatch.setattr("advassay.report.output.write_report.figures", lambda findings: iter(()))


def test_json_holds_every_table_and_no_number_that_json_lacks(report: Report, tmp_path: Path) -> None:
    text = write_report(report.store, tmp_path / "r.json", "json").read_text(encoding="utf-8")
    document = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert len(document["conclusions"]) == 5
    for name, told in document["tables"].items():
        written = report.table(name)
        assert told["columns"] == written.columns, name
        assert len(told["rows"]) == len(written), name
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.json"]


def test_csv_writes_the_tables_that_stand_beside_the_page(report: Report, tmp_path: Path) -> None:
    folder = write_report(report.store, tmp_path / "csv", "csv")
    beside = {path.name: path.read_text() for path in (report.folder / "tables").iterdir()}
    assert {path.name: path.read_text() for path in folder.iterdir()} == beside


@pytest.mark.usefixtures("no_figures")
def test_markdown_holds_verdicts_tables_and_limits(report: Report, found: Findings, tmp_path: Path) -> None:
    text = write_report(report.store, tmp_path / "r.md", "md").read_text(encoding="utf-8")
    for conclusion in found.conclusions:
        assert f"**{conclusion.told}**" in text
    assert "## Evaluation checklist" in text
    assert "## Limits" in text
    assert "&lt;norm&gt; &amp; rest" in text
    assert not re.search(r"<norm>|\bNone\b|\bnan\b", text)


@pytest.mark.usefixtures("no_figures")
def test_markdown_has_the_plateau_and_the_size_of_the_perturbation_as_the_page_has(
    report: Report, found: Findings, tmp_path: Path
) -> None:
    text = write_report(report.store, tmp_path / "r.md", "md").read_text(encoding="utf-8")
    for name, header in (("iteration_plateau", "levels off at"), ("perturbation_size", "quantity")):
        printed = list(table(tables(found)[name]))
        assert header in printed[0]
        assert "\n".join(printed) in text
    assert "PSNR, dB" in text


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("format", ["html", "md", "json", "csv"])
def test_an_infinite_number_is_written_by_no_format(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: Format
) -> None:
    """As the PSNR of an image that did not change, or an amplitude that a fit cannot place."""
    from advassay.report.data import findings
    from advassay.report.tables import classifier_tables

    def unchanged(*args: Any, **more: Any) -> pl.DataFrame:
        return sizes(*args, **more).with_columns(q75=pl.lit(float("inf")), q25=pl.lit(float("-inf")))

    def unplaced(*args: Any) -> list[Conclusion]:
        details = ({"cohort": "X-TB", "fit": float("inf"), "slope": float("nan")},)
        return [c.model_copy(update={"estimate": float("inf"), "details": details}) for c in concluded(*args)]

    sizes, concluded = classifier_tables.perturbation_size, findings._conclusions
    monkeypatch.setattr(classifier_tables, "perturbation_size", unchanged)
    monkeypatch.setattr(findings, "_conclusions", unplaced)
    path = write_report(report.store, tmp_path / f"r.{format}", format)
    written = [path] if path.is_file() else sorted(path.iterdir())
    text = "".join(re.sub(r"<script.*?</script>", "", one.read_text(encoding="utf-8"), flags=re.S) for one in written)
    assert "epsilon_over_contrast" in text or "ε over clean contrast" in text
    assert not re.search(r"\binf(inity)?\b|\bnan\b", text, re.IGNORECASE)


def test_a_markdown_table_repeats_what_a_page_prints_once() -> None:
    frame = pl.DataFrame({"cohort": ["a", "a", "b"], "n": [1, 2, 3]})
    columns = [Column("cohort", "cohort", str, shared=True), Column("n", "n", str)]
    lines = list(table(grid("t", "t", frame, columns, "cohort")))
    assert lines == ["| cohort | n |", "|---|---:|", "| a | 1 |", "| a | 2 |", "| b | 3 |"]


@pytest.mark.usefixtures("no_figures")
def test_pdf_is_printed_by_chromium(report: Report, tmp_path: Path) -> None:
    if shutil.which("chromium") is None:
        pytest.skip("needs Chromium (apt-get install chromium)")
    content = write_report(report.store, tmp_path / "r.pdf", "pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert content.count(b"/Type /Page") > 3


def test_without_chromium_pdf_says_what_to_do(report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ReportError, match="found none on PATH") as caught:
        write_report(report.store, tmp_path / "r.pdf", "pdf")
    assert "open the HTML report" in caught.value.fix
    assert not (tmp_path / "r.pdf").exists()


def test_an_unknown_format_is_refused(report: Report) -> None:
    with pytest.raises(SpecError, match="one of html, md, csv, json, pdf, got 'docx'"):
        write_report(report.store, None, "docx")  # type: ignore[arg-type]


@pytest.mark.usefixtures("no_figures")
def test_only_cohorts_of_tiles_are_judged_by_unit_too(tmp_path: Path) -> None:
    tiles = replace(SMALL[1], sizes=(), images_per_patient=8)
    found = gather(make_store(tmp_path / "s", (SMALL[0], tiles), SMALL_ARMS, gallery=False))
    declared = unit_outcomes(found.records, level=found.level).filter(cohort="H-BR")
    assert found.tables["units"].drop("level").equals(declared)
    text = write_report(tmp_path / "s", tmp_path / "r.md", "md").read_text(encoding="utf-8")
    printed = list(table(tables(found)["units"]))
    assert "first decided right" in printed[0]
    assert "\n".join(printed) in text
