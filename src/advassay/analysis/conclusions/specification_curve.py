"""Every verdict under every defensible choice: what of it depends on how the question was put.

A specification curve (Simonsohn, Simmons & Nelson, Nature Human Behaviour 4 (2020) 1208): each question is answered
anew for every attack arm and step size, both iterate readings, both dose readings and both estimators of ε50, as far
as the question depends on them. The monotone dose reading cannot fall, so it never decides question 1 and is not tried
there; question 3 is tried at each ε and over all. Networks of a size series are judged against each other, and a
bracket that all of them share would make them equal: question 5 keeps the curve. The plan's own choice is one row of
each question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import polars as pl

from advassay.analysis.conclusions.amplitude import amplitude_verdict, flatness, slopes
from advassay.analysis.conclusions.conclusion import RATIOS, Verdict, finite, in_unit, verdict_of
from advassay.analysis.conclusions.confidence import confidence_shift
from advassay.analysis.conclusions.effect_sizes import Effect, joined, overall, values_of
from advassay.analysis.conclusions.evidence import Evidence, evidence_of
from advassay.analysis.conclusions.image_type import log_epsilon50, type_ratio
from advassay.analysis.conclusions.iterations import (
    changes_of,
    decisive_change,
    effect_that_decides,
    nearest_shared,
    plateau_verdict,
    pooled_rise,
)
from advassay.analysis.conclusions.training_size import series_of, size_effect
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

    Columns: question (1 to 5), arm, step_size, success (last | any), dose (monotone | as recorded), estimator (of ε50:
    curve | bracket), epsilon (question 3: one amplitude, "all", or the plan's "0.02 and all"); empty where the question
    does not depend on the choice. estimate, low, high: a difference of success rates in questions 1 and 3, a ratio of
    ε50 in 2, 4 and 5; null where there is none, or where an end is open. n: cohorts or networks. verdict; chosen: the
    choice of the plan.
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
    for success in SUCCESS:
        reading = evidence.at(success=success)
        planned = here and success == own.plan.success
        yield _row(reading, 1, *_amplitude(reading), chosen=planned)
        for epsilon, effect, verdict in _iterations(reading):
            yield _row(reading, 3, effect, verdict, chosen=planned and epsilon.endswith(" and all"), epsilon=epsilon)
        for dose, estimator in product(DOSE, ESTIMATORS):
            one = replace(reading.at(dose=dose), estimator=estimator)
            chosen = planned and dose == own.plan.dose and estimator == "curve"
            for question, answer in BY_EPSILON50.items():
                if question == 5 and estimator == "bracket":
                    continue
                yield _row(one, question, *answer(one), chosen=chosen, dose=dose, estimator=estimator)


def _row(
    evidence: Evidence, question: int, effect: Effect, verdict: Verdict, *, chosen: bool, dose: str = "",
    estimator: str = "", epsilon: str = "",
) -> dict[str, Any]:  # fmt: skip
    ends = in_unit(question, effect) if effect.known else (float("nan"),) * 3
    numbers = [finite(end) if question not in RATIOS else finite(end) or None for end in ends]
    return {
        "question": question, "arm": evidence.arm, "step_size": evidence.networks[0].step_size,
        "success": evidence.plan.success, "dose": dose, "estimator": estimator, "epsilon": epsilon,
        "estimate": numbers[0], "low": numbers[1], "high": numbers[2], "n": effect.k, "verdict": verdict,
        "chosen": chosen,
    }  # fmt: skip


Answer = tuple[Effect, Verdict]


def _amplitude(evidence: Evidence) -> Answer:
    effect = overall(slopes(evidence), evidence.plan.level)
    return effect, amplitude_verdict(effect, flatness(evidence, effect))


def _iterations(evidence: Evidence) -> Iterator[tuple[str, Effect, Verdict]]:
    """At each ε, over all, and as the plan has it: over all, with its own ε beside it."""
    doses, own = evidence.shared_doses, changes_of(evidence)
    new, margin = evidence.prespecified is not None, evidence.plan.margins.iterations
    rises = {f"{dose:g}": pooled_rise(evidence, np.array([dose])) for dose in doses}
    for name, effect in {**rises, "all": own.over_all}.items():
        yield name, effect, plateau_verdict(replace(own, at_one=effect, over_all=effect), margin, new=new)
    verdict = plateau_verdict(own, margin, new=new)
    decisive = effect_that_decides(own, decisive_change(own, verdict, margin))
    yield f"{nearest_shared(evidence):g} and all", decisive, verdict


def _image_type(evidence: Evidence) -> Answer:
    values = joined(
        values_of(evidence.main, partial(log_epsilon50, evidence=evidence)), evidence.main, within_type=True
    )
    effect = type_ratio(values, evidence.plan)
    return effect, verdict_of(effect)


def _confidence(evidence: Evidence) -> Answer:
    values = joined(values_of(evidence.main, partial(confidence_shift, evidence=evidence)), evidence.main)
    effect = overall(values, evidence.plan.level)
    return effect, verdict_of(effect, float(np.log(evidence.plan.margins.confidence)))


def _training_size(evidence: Evidence) -> Answer:
    effect = size_effect(series_of(evidence), evidence.plan.level)
    return effect, verdict_of(effect, float(np.log(evidence.plan.margins.training_size)), absence_supports=True)


BY_EPSILON50: dict[int, Callable[[Evidence], Answer]] = {2: _image_type, 4: _confidence, 5: _training_size}
"""Questions about ε50, which depend on the dose reading and on the estimator."""
