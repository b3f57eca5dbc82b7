"""The reference study's five conclusions as tested statements about a store. One file a question. See README.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from advassay.analysis.conclusions.amplitude import judge_amplitude
from advassay.analysis.conclusions.conclusion import RATIOS, Conclusion, Verdict
from advassay.analysis.conclusions.conclusion_text import readings
from advassay.analysis.conclusions.confidence import judge_confidence
from advassay.analysis.conclusions.evidence import Evidence, evidence_of
from advassay.analysis.conclusions.image_type import judge_image_type
from advassay.analysis.conclusions.iterations import judge_iterations
from advassay.analysis.conclusions.training_size import judge_training_size
from advassay.analysis.differences import holm
from advassay.analysis.intervals import checked_level
from advassay.errors import SpecError
from advassay.former_names import keep_callable
from advassay.records.store_reader import Records
from advassay.spec.analysis_plan import AnalysisPlan

__all__ = ["QUESTIONS", "Conclusion", "Verdict", "conclusions", "judge"]

Question = Callable[[Evidence], Conclusion]

QUESTIONS: tuple[Question, ...] = (
    judge_amplitude,
    judge_image_type,
    judge_iterations,
    judge_confidence,
    judge_training_size,
)
"""In the order of the reference study."""


def conclusions(
    records: Records, epsilon: float | None = None, level: float | None = None, *, plan: AnalysisPlan | None = None
) -> list[Conclusion]:
    """The five conclusions, numbers 1 to 5, under the store's analysis plan (its defaults where it has none).

    plan     another plan instead; what it says is then marked as not pre-specified
    epsilon  amplitude of question 3 in place of the plan's
    level    confidence level in place of the plan's

    Raises SpecError where the plan names an arm or step size that is not recorded, StoreError for an empty store.
    """
    evidence = evidence_of(records, plan)
    if epsilon is not None and not 0 < epsilon <= 1:
        raise SpecError(f"epsilon: above 0 and at most 1, got {epsilon:g}.", "Leave it out for the plan's amplitude.")
    asked = {"epsilon": epsilon, "level": None if level is None else checked_level(level)}
    changes = {name: value for name, value in asked.items() if value not in (None, getattr(evidence.plan, name))}
    # The amplitude is question 3's alone; the level is every question's.
    unplanned = frozenset(range(1, 6)) if "level" in changes else frozenset({3} if changes else ())
    return judge(evidence.at(**changes), unplanned)


def judge(evidence: Evidence, unplanned: frozenset[int] = frozenset()) -> list[Conclusion]:
    """The five conclusions of this evidence, with Holm's correction over them beside each raw verdict.

    `unplanned`: numbers of those that are judged by another choice than the plan's, and so not as planned.
    Holm's correction is over the verdicts that can rest on a p value of no effect: not question 3's, and not question
    5's, whose claims are about a margin.
    """
    found = [question(evidence) for question in QUESTIONS]
    p = np.array([np.nan if one.p is None or one.number in ON_MARGIN else one.p for one in found])
    if not evidence.series_planned:
        unplanned |= {5}
    return [
        _complete(one, float(p), replace(evidence, prespecified=_planned(evidence, one.number not in unplanned)))
        for one, p in zip(found, holm(p), strict=True)
    ]


ON_MARGIN = (3, 5)
"""Numbers of the questions whose verdicts compare an interval with a margin alone."""


def _planned(evidence: Evidence, as_planned: bool) -> bool | None:
    return evidence.prespecified and as_planned if evidence.prespecified is not None else None


def _complete(one: Conclusion, p: float, evidence: Evidence) -> Conclusion:
    plan = evidence.plan
    known = p == p
    return one.model_copy(
        update={
            "p_holm": p if known else None,
            "verdict_holm": "undecided" if _rests_on_p(one) and known and p > 1 - plan.level else one.verdict,
            "level": plan.level,
            "arm": evidence.arm,
            "step_size": evidence.networks[0].step_size if evidence.networks else "",
            "reading": readings(plan),
            "prespecified": evidence.prespecified,
            "remarks": (*one.remarks, *evidence.notes),
        }
    )


def _rests_on_p(one: Conclusion) -> bool:
    """Whether the verdict is the rejection of no effect; equivalence and levelling off rest on the margin instead."""
    if one.number in ON_MARGIN:
        return False
    neutral = 1.0 if one.number in RATIOS else 0.0
    excluded = (one.low is not None and one.low > neutral) or (one.high is not None and one.high < neutral)
    return one.verdict != "undecided" and excluded


keep_callable(__name__, f"{__name__}:conclusions", "advassay.conclusions")
