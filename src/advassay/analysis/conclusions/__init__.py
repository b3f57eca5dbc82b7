"""Questions put to the records, and their answers as tested conclusions. One file a question. See README.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from advassay.analysis.conclusions.conclusion import Conclusion, Verdict
from advassay.analysis.conclusions.conclusion_text import readings
from advassay.analysis.conclusions.evidence import Evidence, evidence_of
from advassay.analysis.conclusions.question import QUESTIONS, Question, questions
from advassay.analysis.differences import holm
from advassay.analysis.intervals import checked_level
from advassay.errors import SpecError
from advassay.former_names import keep_callable
from advassay.records.store_reader import Records
from advassay.spec.analysis_plan import AnalysisPlan

__all__ = ["QUESTIONS", "Conclusion", "Question", "Verdict", "conclusions", "judge", "questions"]


def conclusions(
    records: Records, epsilon: float | None = None, level: float | None = None, *, plan: AnalysisPlan | None = None
) -> list[Conclusion]:
    """The conclusions of all registered questions by number, under the store's analysis plan (its defaults where it
    has none). Numbers 1 to 5 are those of the reference study.

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
    unplanned = {one.number for one in questions() if "level" in changes or changes.keys() & one.uses}
    return judge(evidence.at(**changes), frozenset(unplanned))


def judge(evidence: Evidence, unplanned: frozenset[int] = frozenset()) -> list[Conclusion]:
    """The conclusions of this evidence, with Holm's correction over each family beside each raw verdict.

    `unplanned`: numbers of those that are judged by another choice than the plan's, and so not as planned.
    Holm's correction is over the verdicts that can rest on a p value of no effect: not those that compare the interval
    with a margin alone. Questions of other packages are families of their own: installing one changes no other verdict.
    """
    asked = [question for question in questions() if question.asked_of(evidence)]
    found = [question.judge(evidence) for question in asked]
    adjusted = _holm_by_family(asked, found)
    if not evidence.series_planned:
        unplanned |= {question.number for question in asked if "series" in question.uses}
    unplanned |= {question.number for question in asked if question.name in evidence.added}
    return [
        _complete(
            one, question, p, replace(evidence, prespecified=_planned(evidence, question.number not in unplanned))
        )
        for question, one, p in zip(asked, found, adjusted, strict=True)
    ]


def _holm_by_family(asked: Sequence[Question], found: Sequence[Conclusion]) -> list[float]:
    """Adjusted p value of each conclusion; NaN where the verdict does not rest on one."""
    p = np.array(
        [
            np.nan if one.p is None or not question.tests_effect else one.p
            for question, one in zip(asked, found, strict=True)
        ]
    )
    families = np.array([question.family for question in asked])
    adjusted = np.full(len(p), np.nan)
    for family in dict.fromkeys(families):
        adjusted[families == family] = holm(p[families == family])
    return [float(value) for value in adjusted]


def _planned(evidence: Evidence, as_planned: bool) -> bool | None:
    return evidence.prespecified and as_planned if evidence.prespecified is not None else None


def _complete(one: Conclusion, question: Question, p: float, evidence: Evidence) -> Conclusion:
    plan = evidence.plan
    known = p == p
    return one.model_copy(
        update={
            "p_holm": p if known else None,
            "verdict_holm": "undecided" if _rests_on_p(one, question) and known and p > 1 - plan.level else one.verdict,
            "level": plan.level,
            "arm": evidence.arm,
            "step_size": evidence.networks[0].step_size if evidence.networks else "",
            "reading": readings(plan),
            "prespecified": evidence.prespecified,
            "remarks": (*one.remarks, *evidence.notes),
        }
    )


def _rests_on_p(one: Conclusion, question: Question) -> bool:
    """Whether the verdict is the rejection of no effect; equivalence and levelling off rest on the margin instead."""
    if not question.tests_effect:
        return False
    neutral = question.no_effect
    excluded = (one.low is not None and one.low > neutral) or (one.high is not None and one.high < neutral)
    return one.verdict != "undecided" and excluded


keep_callable(__name__, f"{__name__}:conclusions", "advassay.conclusions")
