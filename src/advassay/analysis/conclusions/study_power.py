"""How large a study must be for each verdict, before it is run; each question brings its own rule (`PowerRule`).

A verdict is read off one interval, estimate ± t(k − p) · √((τ² + v) / k) or its like, so the chance of a verdict
follows from the design and from stated effects: the noncentral t distribution where an effect must be shown, the
distance of the estimate from both margins where an absence must be. v is the variance of one cohort's number for n
images of a log-logistic curve inside the grid (its expected information), times the patients' design effect.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from advassay.analysis.conclusions.question import Question, questions
from advassay.analysis.dose_response.epsilon50 import BETWEEN
from advassay.analysis.dose_response.log_logistic import expected_covariance
from advassay.errors import SpecError
from advassay.spec.analysis_plan import AnalysisPlan

MOST = 100_000
"""Images a cohort, beyond which more are not looked for."""
MOST_COHORTS = 60


@dataclass(frozen=True)
class Assumed:
    """Effects and spreads that a study is planned for. Each is a guess of the user's; the defaults are only a start."""

    change_per_doubling: float = 0.05
    """Question 1: change of success per doubling of ε."""
    ratio_of_types: float = 2.0
    """Question 2: ratio of ε50, second type over first."""
    ratio_of_confidence: float = 1.5
    """Question 4: ratio of ε50 above and below the threshold."""
    share_confident: float = 0.5
    """Share of images above it."""
    between_cohorts: float = 0.3
    """Standard deviation of ln ε50 between cohorts of a type."""
    between_slopes: float = 0.03
    """Standard deviation of question 1's effect between cohorts."""
    between_ratios: float = 0.1
    """Standard deviation of question 4's ln ratio between cohorts."""
    between_trainings: float = 0.1
    """Standard deviation of ln ε50 between networks trained alike."""
    transfer: float = 0.2
    """Question 6: how much more often than noise attacked images mislead another network."""
    feature_ratio: float = 2.0
    """Question 7: how many times as far as in pixels attacked images move in features."""
    between_transfers: float = 0.1
    """Standard deviation of question 6's effect between cohorts."""
    scale: float = 0.4
    """s of the log-logistic curve, in ln ε: 0.4 = from a tenth to nine tenths over a factor of 5.8."""


@dataclass(frozen=True)
class Design:
    """What a study declares.

    cohorts  independent cohorts of the first and second image type
    images   attackable images of the smallest cohort; images_per_patient and icc make their design effect
    sizes    training-set sizes of the series, seeds networks of each
    transfer whether attacked images are tried on other networks, features whether their features are compared
    """

    cohorts: tuple[int, int]
    images: int
    doses: tuple[float, ...]
    sizes: tuple[int, ...] = ()
    seeds: int = 1
    images_per_patient: float = 1.0
    icc: float = 0.2
    transfer: bool = False
    features: bool = False

    def __post_init__(self) -> None:
        if self.images < 1 or len(self.doses) < 1 or min(self.cohorts) < 0:
            raise SpecError(
                f"expected images ≥ 1 and at least one amplitude, got {self.images} and {len(self.doses)}.",
                "Name an arm with amplitudes, and cohorts with images.",
            )

    @property
    def effective(self) -> float:
        """Images of different patients that would say as much as `images`."""
        return self.images / (1 + (self.images_per_patient - 1) * self.icc)

    @property
    def k(self) -> int:
        return sum(self.cohorts)


@dataclass(frozen=True)
class Power:
    """The chance of a verdict and what would bring it to the target; None = out of reach by that alone."""

    number: int
    title: str
    verdict: str
    """The verdict that the assumed effects deserve."""
    assumed: str
    power: float
    images: int | None
    """Attackable images a cohort, the cohorts as declared."""
    cohorts: int | None
    """Cohorts (question 2: of each type), at least two and as many as declared, the images as declared; question 5:
    networks of each size."""


def study_power(
    design: Design, assumed: Assumed | None = None, plan: AnalysisPlan | None = None, target: float = 0.8
) -> list[Power]:
    """Every question's chance of the verdict that the assumed effects deserve, and what `target` would take.

    Raises SpecError for a target outside (0, 1).
    """
    if not 0 < target < 1:
        raise SpecError(f"target: between 0 and 1, got {target}.", "For example 0.8.")
    effects, rules = assumed or Assumed(), plan or AnalysisPlan()
    return [
        _needed(question, design, effects, rules, target) for question in questions() if question.power.applies(design)
    ]


def _needed(question: Question, design: Design, assumed: Assumed, plan: AnalysisPlan, target: float) -> Power:
    rule = question.power

    def chance(**changes: Any) -> float:
        return rule.chance(replace(design, **changes), assumed, plan)

    images = _smallest(lambda n: chance(images=n), 3, MOST, target)
    if rule.grows_by == "networks of each size":
        more = _smallest(lambda n: chance(seeds=n), 1, 100, target) if len(design.sizes) >= 3 else None
    else:
        more = _cohorts(
            lambda kinds: chance(cohorts=kinds), design, target, per_type=rule.grows_by == "cohorts of each type"
        )
    return Power(question.number, question.title, rule.verdict, rule.assumed(assumed, plan), chance(), images, more)


def _cohorts(
    chance: Callable[[tuple[int, int]], float], design: Design, target: float, *, per_type: bool
) -> int | None:
    """The fewest cohorts (of each type), from those declared and from two upwards, that reach the target.

    One cohort alone is another question: its verdict is about itself, without the spread between cohorts, so that its
    chance may be higher. Every number is tried, since the chance need not rise with each.
    """
    declared = min(design.cohorts) if per_type else design.k
    for k in range(max(2, declared), MOST_COHORTS + 1):
        if chance((k, k) if per_type else (k, 0)) >= target:
            return k
    return None


def _smallest(chance: Callable[[int], float], low: int, most: int, target: float) -> int | None:
    """The smallest whole number from `low` at which the chance reaches the target; None beyond `most`."""
    if chance(low) >= target:
        return low
    high = low * 2
    while chance(min(high, most)) < target:
        if high >= most:
            return None
        low, high = high, high * 2
    high = min(high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if chance(middle) < target else (low, middle)
    return high


def shown(effect: float, error: float, freedom: float, level: float, floor: float = 0.0) -> float:
    """Chance that the interval lies wholly on the effect's side of 0 (noncentral t).

    `floor`: the error that is never gone below, however alike the cohorts turn out (Hartung and Knapp's factor is at
    least 1): that of the images alone.
    """
    if freedom < 1 or error <= 0:
        return 0.0
    quantile = float(stats.t.ppf(0.5 + level / 2, freedom))
    if not floor:
        return float(stats.nct.sf(quantile, freedom, abs(effect) / error))
    found = stats.chi2.ppf((np.arange(_NODES) + 0.5) / _NODES, freedom) / freedom
    half = quantile * np.maximum(np.sqrt(found), floor / error)
    return float(stats.norm.sf(half - abs(effect) / error).mean())


_NODES = 2_000
"""Equally likely values of the variance between cohorts that a chance is the mean over."""


def within(margin: float, error: float, freedom: float, level: float, *, one_sided: bool = False) -> float:
    """Chance that the whole interval lies within ±margin (below it if `one_sided`) where there is no effect."""
    if freedom < 1 or error <= 0:
        return 0.0
    room = margin / error - float(stats.t.ppf(0.5 + level / 2, freedom))
    if room <= 0:
        return 0.0
    return float(stats.t.cdf(room, freedom) if one_sided else 2 * stats.t.cdf(room, freedom) - 1)


def variance_of_log_epsilon50(design: Design, assumed: Assumed) -> float:
    """Sampling variance of ln ε50 in the middle of the grid."""
    covariance, gradient, gap = expected_covariance(np.array(design.doses), assumed.scale, design.effective)
    return float(gradient @ covariance @ gradient) + (BETWEEN * gap) ** 2


def pooled_error(within_cohort: float, between: float, k: int) -> tuple[float, float]:
    """(standard error of a mean over k cohorts, degrees of freedom); one cohort: its own, over its images."""
    return float(np.sqrt((within_cohort + (between**2 if k > 1 else 0.0)) / k)), float(k - 1)


def smallest_error(within_cohort: float, k: int) -> float:
    """Error of a mean over k cohorts that do not differ; none for one cohort, whose interval is over its images."""
    return float(np.sqrt(within_cohort / k)) if k > 1 else 0.0
