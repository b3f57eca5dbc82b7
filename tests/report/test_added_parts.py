"""A figure, a table and a question of another package stand in the report like our own; nothing lists ours twice."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from simulate import make_store
from written_report import SMALL, SMALL_ARMS, Report

import advassay
from advassay.analysis.conclusions import question
from advassay.analysis.conclusions.question import QUESTIONS, questions
from advassay.errors import SpecError
from advassay.report import gather
from advassay.report.figures.figure import FIGURES, figures
from advassay.report.page_sections import in_page_order
from advassay.report.tables.table import TABLES, printed_tables

OTHER = Path(__file__).parents[1] / "external_package"
SCRIPT = """
import json, sys
from pathlib import Path
from advassay.analysis.conclusions.study_power import Design, study_power
from advassay.report import write_report
page = write_report(Path(sys.argv[1]), Path(sys.argv[2]))
power = study_power(Design(cohorts=(2, 2), images=80, doses=(0.02, 0.06, 0.2)))
print(json.dumps([[one.number, one.title, one.power] for one in power]))
"""


@dataclass(frozen=True)
class Added:
    """A report that was written where the other package is installed."""

    page: str
    folder: Path
    power: list[tuple[int, str, float]]

    def table(self, name: str) -> pl.DataFrame:
        return pl.read_csv(self.folder / "tables" / f"{name}.csv", infer_schema_length=None)


@pytest.fixture(scope="module")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("added") / "store", SMALL, {"A": SMALL_ARMS["A"]}, gallery=False)


@pytest.fixture(scope="module")
def added(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Added:
    page = tmp_path_factory.mktemp("page") / "with.html"
    paths = [str(OTHER), str(Path(advassay.__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(small_store), str(page)], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Added(page.read_text(encoding="utf-8"), page.with_name("with_files"), json.loads(done.stdout))


def test_a_figure_of_another_package_is_on_the_page_numbered_and_exported(added: Added, small_store: Path) -> None:
    results = added.page.split('<section id="results">')[1].split('<section id="evidence">')[0]
    shown = re.findall(r'<figure id="([^"]+)">.*?<strong>Figure ([^.]+)\.', results, re.DOTALL)
    numbers = dict(shown)
    before = [(one.key, one.number) for one in figures(gather(small_store)) if one.section == "results"]
    place = [key for key, _ in shown].index("fig-lost-again")
    assert [key for key, _ in shown if key != "fig-lost-again"] == [key for key, _ in before]
    assert shown[place - 1][0] == "fig-surface"
    own = {key: number for key, number in before if not number.isdigit()}
    assert {key: numbers[key] for key in own} == own  # those of the reference study keep their numbers
    counted = [int(number) for _, number in shown if number.isdigit()]
    assert counted == list(range(4, 4 + len(counted)))
    for suffix in ("svg", "png", "pdf"):
        assert (added.folder / "figures" / f"fig-lost-again.{suffix}").stat().st_size > 1000


def test_a_table_of_another_package_is_on_the_page_numbered_and_exported(added: Added) -> None:
    numbers = re.findall(r'<p class="caption">Table (\d+)[a-z]?\. ', added.page)
    assert [int(number) for number in dict.fromkeys(numbers)] == list(range(1, len(set(numbers)) + 1))
    assert re.search(r"Table \d+\. Images that lose their success again\.", added.page)
    assert added.table("lost_again").columns == ["cohort", "n", "share"]
    assert 'download="lost_again.csv"' in added.page


def test_a_question_of_another_package_is_answered_varied_and_planned_for(added: Added) -> None:
    assert 'id="conclusion-11">11. Success is lost again in some images.' in added.page
    assert "Six conclusions, tested" in added.page
    assert "; 11 was added by another package: " in added.page
    assert 11 in added.table("specification_curve")["question"].to_list()
    assert [number for number, _, _ in added.power] == [1, 2, 3, 4, 5, 11]
    assert 0 < added.power[5][2] < 1


def test_an_installed_package_changes_no_verdict_of_ours(added: Added, small_store: Path) -> None:
    ours = gather(small_store).tables["conclusions"]
    theirs = added.table("conclusions").filter(pl.col("number") <= 5)
    for column in ("verdict", "verdict_holm", "headline", "reason"):
        assert theirs[column].to_list() == ours[column].to_list(), column
    assert theirs["p_holm"].to_list() == ours["p_holm"].to_list()


def test_figures_tables_and_questions_are_named_by_their_own_files_alone() -> None:
    """A name that stands elsewhere would be a list that somebody must keep in step."""
    package = Path(advassay.__file__).parent
    others = [
        path for room in ("report/output", "report/templates", "report/data", "report/text", "cli")
        for path in (package / room).rglob("*") if path.suffix in (".py", ".j2", ".css", ".js")
    ]  # fmt: skip
    assert len(others) > 20
    text = {path.name: path.read_text(encoding="utf-8") for path in others}
    listed = [(name, file) for name in FIGURES.names() for file in text if f'"{name}"' in text[file]]
    assert len(FIGURES) >= 21
    assert listed == []
    conclusions = {path.name: path.read_text() for path in (package / "analysis" / "conclusions").glob("*.py")}
    general = ("__init__.py", "question.py", "specification_curve.py", "study_power.py", "conclusion_text.py")
    assert len(QUESTIONS) == 7
    assert [
        (name, file) for name in QUESTIONS.names() for file in general if f"conclusions.{name}" in conclusions[file]
    ] == []


def test_places_on_the_page_are_taken_once(report: Report) -> None:
    """Two entries of one place would swap with the order of file names."""
    printed = [(how.section, how.order) for table in TABLES.parts() for how in table.printed]
    places = [(entry.section, entry.order) for entry in FIGURES.parts()] + printed
    assert len(places) == len(set(places))
    found = gather(report.store)
    numbers = [one.number for one in printed_tables(found) if one.number]
    assert len(numbers) == len(set(numbers)) > 10
    assert next(iter(in_page_order(FIGURES.parts()))).section == "verdicts"


def test_two_questions_of_one_number_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    first, *_ = questions()

    class Twice:
        def parts(self) -> tuple[question.Question, ...]:
            return (first, first)

    monkeypatch.setattr(question, "QUESTIONS", Twice())
    with pytest.raises(SpecError, match="conclusion number 1: one question each"):
        questions()
