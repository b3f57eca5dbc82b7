"""The checklist's answers follow the records: each can come out either way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from written_report import Report

from advassay.report import gather
from advassay.report.data.findings import Findings
from advassay.report.text.checklist import QUESTIONS, checklist


@pytest.fixture(scope="module")
def found(report: Report) -> Findings:
    return gather(report.store)


def _answer(findings: Findings, words: str) -> tuple[str, str]:
    rows = checklist(findings).filter(pl.col("question").str.contains(words))
    assert len(rows) == 1
    return rows["answer"][0], rows["evidence"][0]


def _changed(findings: Findings, table: str, **columns: Any) -> Findings:
    return replace(findings, tables=findings.tables | {table: findings.tables[table].with_columns(**columns)})


def _without(findings: Findings, table: str) -> Findings:
    return replace(findings, tables={name: frame for name, frame in findings.tables.items() if name != table})


def test_every_question_is_answered_with_evidence(found: Findings) -> None:
    answers = checklist(found)
    assert answers["question"].to_list() == list(QUESTIONS)
    assert set(answers["answer"]) <= {"yes", "partly", "no", "not applicable"}
    assert answers["evidence"].str.len_chars().min() > 20


def test_success_that_falls_with_epsilon_is_found(found: Findings) -> None:
    steady = _changed(found, "success_by_arm", rate=pl.col("epsilon"))
    falling = _changed(found, "success_by_arm", rate=-pl.col("epsilon"))
    assert _answer(steady, "more ε never lower")[0] == "yes"
    assert _answer(falling, "more ε never lower")[0] == "no"


def test_iterations_that_lower_success_are_found(found: Findings) -> None:
    rising = _changed(found, "success_by_iteration", rate=pl.col("step") / 10)
    falling = _changed(found, "success_by_iteration", rate=1 - pl.col("step") / 10)
    assert _answer(rising, "better than one")[0] == "yes"
    answer, evidence = _answer(falling, "better than one")
    assert answer == "no"
    assert "lower at the end: X-TB and H-BR" in evidence


def test_a_curve_that_ends_below_its_ceiling_is_found(found: Findings) -> None:
    assert _answer(_changed(found, "success_by_arm", rate=pl.lit(0.5)), "up to where nearly all")[0] == "no"
    assert _answer(_changed(found, "success_by_arm", rate=pl.lit(1.0)), "up to where nearly all")[0] == "yes"


def test_missing_controls_are_a_plain_no(found: Findings) -> None:
    assert _answer(found, "stronger one")[0] == "yes"
    assert _answer(_without(found, "controls_by_arm"), "stronger one")[0] == "no"


def test_accuracy_above_guessing_at_the_largest_epsilon_is_found(found: Findings) -> None:
    guessing = _changed(found, "performance", accuracy=pl.lit(0.2), high=pl.lit(0.3))
    good = _changed(found, "performance", accuracy=pl.lit(0.8), high=pl.lit(0.9))
    assert _answer(guessing, "down to guessing")[0] == "yes"
    assert _answer(good, "down to guessing")[0] == "no"
