"""What a question is, and the registry of all questions: one file of this folder registers each.

A question brings everything that is said of it: how it is judged, under which other choices it is judged again (the
specification curve), and how likely a planned study is to decide it (the power simulation). `conclusions`, the
specification curve, the power simulation, the report and the command line go through the registry. Another package adds
a question through the entry point group `advassay.conclusions`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from advassay.analysis.interval_text import Kind
from advassay.errors import SpecError
from advassay.registry import Registry

if TYPE_CHECKING:
    from advassay.analysis.conclusions.conclusion import Conclusion, Verdict
    from advassay.analysis.conclusions.effect_sizes import Effect
    from advassay.analysis.conclusions.evidence import Evidence
    from advassay.analysis.conclusions.study_power import Assumed, Design
    from advassay.analysis.dose_response.epsilon50 import Estimator
    from advassay.spec.analysis_plan import AnalysisPlan

REFERENCE_STUDY = "reference study"
"""Family of the five questions of Kovalev and Voynov 2019."""
ADDED = "added"
"""Family of questions that another package adds."""


def always(asked: object) -> bool:
    """Every study is asked the question."""
    return True


@dataclass(frozen=True)
class Specification:
    """One answer of the specification curve.

    epsilon     amplitude that it is about, as text; empty where the question is not about one
    as_planned  whether the choices that this question alone varies are those of the plan
    """

    effect: Effect
    verdict: Verdict
    epsilon: str = ""
    as_planned: bool = True


@dataclass(frozen=True)
class PowerRule:
    """How likely a planned study is to decide a question.

    verdict   the verdict that the assumed effects deserve
    chance    (design, assumed, plan) → its probability, in [0, 1]
    assumed   (assumed, plan) → the assumption in words
    grows_by  what there may be more of where images are not enough
    applies   design → whether such a study asks the question at all
    """

    verdict: Verdict
    chance: Callable[[Design, Assumed, AnalysisPlan], float]
    assumed: Callable[[Assumed, AnalysisPlan], str]
    grows_by: Literal["cohorts", "cohorts of each type", "networks of each size"] = "cohorts"
    applies: Callable[[Design], bool] = always


@dataclass(frozen=True)
class Question:
    """One question put to the records.

    name             in the registry
    number           its place, from 1; the reference study's are 1 to 5
    kind             its effect: "ratio" of two ε50, or "points", a difference of two success rates
    effect_axis      title of the effect's axis, with the unit
    judge            evidence → its conclusion
    smallest_effect  margin → the smallest effect that counts, in words
    specifications   evidence → answers under one arm, step size and pair of readings
    power            how likely a planned study is to decide it
    estimators       of ε50 that it is answered with; empty: it depends on neither ε50 nor the dose reading
    uses             parts of the plan that it alone rests on: its amplitude, or its training-size series
    tests_effect     False: the verdict compares the interval with a margin, whatever the p value of no effect
    family           questions of one family share Holm's correction
    new_unit         where a new value is expected, in words
    also_at_epsilon  whether the estimate at the plan's amplitude must lie within the margin too
    asked_of         evidence → whether these records are asked it: those of studies that do what it is about
    """

    name: str
    number: int
    title: str
    kind: Kind
    effect_axis: str
    judge: Callable[[Evidence], Conclusion]
    smallest_effect: Callable[[float], str]
    specifications: Callable[[Evidence], Iterable[Specification]]
    power: PowerRule
    estimators: tuple[Estimator, ...] = ()
    uses: frozenset[Literal["epsilon", "series"]] = frozenset()
    tests_effect: bool = True
    family: str = ADDED
    new_unit: str = "In a new cohort of the same kind"
    also_at_epsilon: bool = False
    asked_of: Callable[[Evidence], bool] = always

    @property
    def no_effect(self) -> float:
        """The value of the effect where there is none."""
        return 1.0 if self.kind == "ratio" else 0.0


QUESTIONS = Registry("conclusion", Question, package="advassay.analysis.conclusions", group="advassay.conclusions")
"""All questions."""


def questions() -> list[Question]:
    """All questions by number. Raises SpecError where two have the same number."""
    found = sorted(QUESTIONS.parts(), key=lambda one: one.number)
    for one, following in pairwise(found):
        if one.number == following.number:
            raise SpecError(
                f"conclusion number {one.number}: one question each, got {one.title!r} and {following.title!r}.",
                "Give the added question a number of its own, above 7.",
            )
    return found


def question_of(number: int) -> Question:
    """The question of this number. Raises SpecError where there is none."""
    found = {one.number: one for one in questions()}
    if number not in found:
        raise SpecError(
            f"conclusion: one of {', '.join(map(str, found))}, got {number}.",
            "Install the package that registers it (entry point group advassay.conclusions).",
        )
    return found[number]


def no_difference(margin: float, what: str = "difference, unless it excludes 1") -> str:
    """The smallest ratio that counts, in words: `smallest_effect` of questions about a ratio."""
    return f"an interval of the ratio wholly within 1/{margin:g} to {margin:g} counts as no {what}"
