"""How large a study must be for each of the five verdicts, before it is run.

Each verdict is read off one interval, estimate ± t(k − p) · √((τ² + v) / k) or its like, so the chance of a verdict
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

from advassay.analysis.conclusions.effect_sizes import NO_SIZE
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
    scale: float = 0.4
    """s of the log-logistic curve, in ln ε: 0.4 = from a tenth to nine tenths over a factor of 5.8."""


@dataclass(frozen=True)
class Design:
    """What a study declares.

    cohorts  independent cohorts of the first and second image type
    images   attackable images of the smallest cohort; images_per_patient and icc make their design effect
    sizes    training-set sizes of the series, seeds networks of each
    """

    cohorts: tuple[int, int]
    images: int
    doses: tuple[float, ...]
    sizes: tuple[int, ...] = ()
    seeds: int = 1
    images_per_patient: float = 1.0
    icc: float = 0.2

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
    """The five questions' chances of the verdict that the assumed effects deserve, and what `target` would take.

    Raises SpecError for a target outside (0, 1).
    """
    if not 0 < target < 1:
        raise SpecError(f"target: between 0 and 1, got {target}.", "For example 0.8.")
    effects, rules = assumed or Assumed(), plan or AnalysisPlan()
    return [_needed(question, design, effects, rules, target) for question in QUESTIONS]


def _needed(question: Question, design: Design, assumed: Assumed, plan: AnalysisPlan, target: float) -> Power:
    def chance(**changes: Any) -> float:
        return question.chance(replace(design, **changes), assumed, plan)

    images = _smallest(lambda n: chance(images=n), 3, MOST, target)
    if question.number == 5:
        more = _smallest(lambda n: chance(seeds=n), 1, 100, target) if len(design.sizes) >= 3 else None
    else:
        more = _cohorts(lambda kinds: chance(cohorts=kinds), design, target, per_type=question.number == 2)
    return Power(
        question.number, question.title, question.verdict, question.assumed(assumed, plan), chance(), images, more
    )


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


def _pooled_error(within_cohort: float, between: float, k: int) -> tuple[float, float]:
    """(standard error of a mean over k cohorts, degrees of freedom); one cohort: its own, over its images."""
    return float(np.sqrt((within_cohort + (between**2 if k > 1 else 0.0)) / k)), float(k - 1)


def _floor(within_cohort: float, k: int) -> float:
    """Error of a mean over k cohorts that do not differ; none for one cohort, whose interval is over its images."""
    return float(np.sqrt(within_cohort / k)) if k > 1 else 0.0


def _amplitude(design: Design, assumed: Assumed, plan: AnalysisPlan) -> float:
    x = np.log2(design.doses)
    if len(x) < 2 or design.k < 1:
        return 0.0
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    # Largest variance of a slope read off one image: as likely as not to be misclassified at each amplitude at once.
    variance = float(np.abs(weights).sum() / 2) ** 2 / 4 / design.effective
    error, freedom = _pooled_error(variance, assumed.between_slopes, design.k)
    freedom = freedom if design.k > 1 else design.effective - 1
    return shown(assumed.change_per_doubling, error, freedom, plan.level, _floor(variance, design.k))


def _image_type(design: Design, assumed: Assumed, plan: AnalysisPlan) -> float:
    if min(design.cohorts) < 2:
        return 0.0
    each = variance_of_log_epsilon50(design, assumed) + assumed.between_cohorts**2
    error = float(np.sqrt(sum(each / k for k in design.cohorts)))
    floor = float(np.sqrt(sum(variance_of_log_epsilon50(design, assumed) / k for k in design.cohorts)))
    return shown(float(np.log(assumed.ratio_of_types)), error, design.k - 2, plan.level, floor)


def _iterations(design: Design, assumed: Assumed, plan: AnalysisPlan) -> float:
    if design.k < 1:
        return 0.0
    # A change in one image at one amplitude: the verdict is of the mean over all amplitudes.
    error, freedom = _pooled_error((NO_SIZE / len(design.doses) / design.effective) ** 2, 0.0, design.k)
    freedom = freedom if design.k > 1 else design.effective - 1
    return within(plan.margins.iterations, error, freedom, plan.level)


def _confidence(design: Design, assumed: Assumed, plan: AnalysisPlan) -> float:
    if design.k < 1:
        return 0.0
    share = assumed.share_confident
    # Two groups of n · share and n · (1 − share) images against one of n.
    variance = variance_of_log_epsilon50(design, assumed) / (share * (1 - share))
    error, freedom = _pooled_error(variance, assumed.between_ratios, design.k)
    freedom = freedom if design.k > 1 else design.effective - 1
    return shown(float(np.log(assumed.ratio_of_confidence)), error, freedom, plan.level, _floor(variance, design.k))


def _training_size(design: Design, assumed: Assumed, plan: AnalysisPlan) -> float:
    if len(design.sizes) < 3 or design.seeds < 2:
        return 0.0
    x = np.repeat(np.log2(design.sizes), design.seeds)
    spread = assumed.between_trainings**2 + variance_of_log_epsilon50(design, assumed) / 4
    # A quarter of the sampling variance: most of it is alike in all networks, which see the same images.
    error = float(np.sqrt(spread / ((x - x.mean()) ** 2).sum()) * np.ptp(x))
    return within(float(np.log(plan.margins.training_size)), error, len(x) - 2, plan.level)


@dataclass(frozen=True)
class Question:
    """One of the five, as far as planning needs it."""

    number: int
    title: str
    verdict: str
    chance: Callable[[Design, Assumed, AnalysisPlan], float]
    assumed: Callable[[Assumed, AnalysisPlan], str]


QUESTIONS = (
    Question(
        1, "Amplitude", "supported", _amplitude,
        lambda a, _: f"success changes by {100 * a.change_per_doubling:g} points per doubling of ε",
    ),
    Question(
        2, "Image type", "supported", _image_type,
        lambda a, p: f"{p.image_types[1]} needs {a.ratio_of_types:g} times the amplitude; "
        f"spread between cohorts {a.between_cohorts:g} (ln ε50)",
    ),
    Question(
        3, "Iterations", "supported", _iterations,
        lambda _, p: "success has levelled off; nothing changes, with twice the iterations neither",
    ),
    Question(
        4, "Confidence", "supported", _confidence,
        lambda a, _: f"confident images need {a.ratio_of_confidence:g} times the amplitude",
    ),
    Question(
        5, "Training size", "supported", _training_size,
        lambda a, _: f"ε50 does not depend on it; networks trained alike differ by {a.between_trainings:g} (ln ε50)",
    ),
)  # fmt: skip
