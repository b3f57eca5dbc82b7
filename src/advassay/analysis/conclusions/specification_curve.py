"""Every verdict under every defensible choice: what of it depends on how the question was put.

A specification curve (Simonsohn, Simmons & Nelson, Nature Human Behaviour 4 (2020) 1208): each question is answered
anew for every attack arm and step size, both iterate readings, both dose readings and its estimators of ε50, as far as
it depends on them. What a question varies beside these is its own: question 3 is tried at each ε and over all. The
plan's own choice is one row of each question.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import polars as pl

from advassay.analysis.conclusions.conclusion import finite, in_unit
from advassay.analysis.conclusions.evidence import Evidence, evidence_of
from advassay.analysis.conclusions.question import Question, Specification, questions
from advassay.analysis.dose_response.epsilon50 import Estimator
from advassay.analysis.outcome_arrays import runs_of, step_sizes
from advassay.records.store_reader import Records
from advassay.spec.analysis_plan import AnalysisPlan, DoseReading
from advassay.success import Reading

SUCCESS: tuple[Reading, ...] = ("last", "any")
DOSE: tuple[DoseReading, ...] = ("monotone", "as recorded")
ESTIMATORS: tuple[Estimator, ...] = ("curve", "bracket")

COLUMNS = {
    "question": pl.Int64, "arm": pl.String, "step_size": pl.String, "success": pl.String, "dose": pl.String,
    "estimator": pl.String, "epsilon": pl.String, "estimate": pl.Float64, "low": pl.Float64, "high": pl.Float64,
    "n": pl.Int64, "verdict": pl.String, "chosen": pl.Boolean,
}  # fmt: skip


def specification_curve(records: Records, plan: AnalysisPlan | None = None) -> pl.DataFrame:
    """One row per question and defensible choice, with the effect and the verdict it gives.

    Columns: question (its number), arm, step_size, success (last | any), dose (monotone | as recorded), estimator (of
    ε50: curve | bracket), epsilon (question 3: one amplitude, "all", or the plan's "0.02 and all"); empty where the
    question does not depend on the choice. estimate, low, high: a difference of success rates in questions 1 and 3, a
    ratio of ε50 in 2, 4 and 5; null where there is none, or where an end is open. n: cohorts or networks. verdict;
    chosen: the choice of the plan.
    """
    own = evidence_of(records, plan)
    rows = [
        row
        for arm in records.arms
        for step_size in _common_step_sizes(records, arm)
        for row in _of_arm(evidence_of(records, plan, arm=arm, step_size=step_size), own)
    ]
    return pl.DataFrame(rows, schema=COLUMNS, orient="row").sort("question", maintain_order=True)


def _common_step_sizes(records: Records, arm: str) -> list[str]:
    """Step sizes that every run of the arm holds: the others would compare other cohorts."""
    runs = runs_of(records, arm, primary=False)
    return [name for name in records.step_sizes(arm) if all(name in step_sizes(run) for run in runs)]


def _of_arm(evidence: Evidence, own: Evidence) -> Iterator[dict[str, Any]]:
    """All rows of one arm at one step size."""
    if not evidence.networks:
        return
    here = evidence.arm == own.arm and evidence.networks[0].step_size == own.networks[0].step_size
    # Whether the store's plan was fixed beforehand decides what question 3 needs, also where another arm is tried.
    evidence = replace(evidence, prespecified=own.prespecified)
    of_rates = [question for question in questions() if not question.estimators]
    of_epsilon50 = [question for question in questions() if question.estimators]
    for success in SUCCESS:
        reading = evidence.at(success=success)
        planned = here and success == own.plan.success
        for question in of_rates:
            for answer in question.specifications(reading):
                yield _row(reading, question, answer, planned)
        for dose, estimator in product(DOSE, ESTIMATORS):
            # One evidence for all questions, which estimates the ε50 of each network once.
            one = replace(reading.at(dose=dose), estimator=estimator)
            chosen = planned and dose == own.plan.dose and estimator == "curve"
            for question in (q for q in of_epsilon50 if estimator in q.estimators):
                for answer in question.specifications(one):
                    yield _row(one, question, answer, chosen)


def _row(evidence: Evidence, question: Question, answer: Specification, planned: bool) -> dict[str, Any]:
    """`planned`: whether the readings, the arm, its step size and the estimator are those of the plan."""
    effect, on_epsilon50 = answer.effect, bool(question.estimators)
    ends = in_unit(question.kind, effect) if effect.known else (float("nan"),) * 3
    numbers = [finite(end) if question.kind == "points" else finite(end) or None for end in ends]
    return {
        "question": question.number, "arm": evidence.arm, "step_size": evidence.networks[0].step_size,
        "success": evidence.plan.success, "dose": evidence.plan.dose if on_epsilon50 else "",
        "estimator": evidence.estimator if on_epsilon50 else "", "epsilon": answer.epsilon,
        "estimate": numbers[0], "low": numbers[1], "high": numbers[2], "n": effect.k, "verdict": answer.verdict,
        "chosen": planned and answer.as_planned,
    }  # fmt: skip
