"""What a conclusion is: a question put to the records, with everything its verdict rests on."""

from __future__ import annotations

from math import ceil, inf, isfinite, log
from typing import Any, Literal

from scipy import stats

from advassay.analysis.questions.effects import Effect
from advassay.attack_spec import Frozen

Verdict = Literal["supported", "contradicted", "undecided"]

LEVEL = 0.95
RATIOS = (2, 4, 5)
"""Numbers of the conclusions whose effect is a ratio of ε50; that of the others is a difference of success rates."""


class Conclusion(Frozen):
    """One conclusion of the reference study as a tested statement about these records."""

    number: int
    """1 amplitude, 2 image type, 3 iterations, 4 confidence, 5 training size."""
    title: str
    statement: str
    """What is claimed."""
    headline: str = ""
    """The answer in one or two sentences for a reader who knows no statistics."""
    estimand: str
    """The quantity that decides, in words with its unit."""
    estimate: float | None
    low: float | None
    """Lower end of the interval; null where it is open or unknown."""
    high: float | None
    bounds: Literal["interval", "undecided"] = "interval"
    """What low and high are; always a confidence interval of `level`."""
    effect: str = ""
    """The effect with its interval and unit, as printed."""
    prediction_low: float | None = None
    """Where the effect in a new cohort is expected; null below three cohorts."""
    prediction_high: float | None = None
    i2: float | None = None
    """Share of the variance that is between cohorts, in [0, 1]; null for one cohort."""
    test: str
    p: float | None
    """Two-sided p of no effect, where there is one."""
    p_holm: float | None = None
    """The same, adjusted for five questions (Holm)."""
    n: int
    """Units that decide (cohorts or networks, as `unit` says)."""
    unit: str
    images: int = 0
    """Images behind the effect."""
    verdict: Verdict
    verdict_holm: Verdict | None = None
    """The verdict after Holm's correction over the five questions."""
    breadth: str = ""
    """What a verdict rests on, e.g. "over 5 cohorts"; empty where undecided."""
    reason: str
    """Why this verdict, with the numbers."""
    needed: str = ""
    """What it would take to decide; empty where decided."""
    remarks: tuple[str, ...] = ()
    """Further results that do not decide."""
    level: float = LEVEL
    margin: float | None = None
    """The smallest effect that counts, in the estimand's unit; null where none is used."""
    arm: str = ""
    """Attack arm that decides."""
    step_size: str = ""
    reading: str = ""
    """Iterate reading and dose reading, as in the plan."""
    prespecified: bool | None = None
    """The plan was fixed before the first attack; null: the store holds no plan and the defaults were used."""
    published: str
    """What the reference study states (Kovalev & Voynov 2019)."""
    alternatives: tuple[str, ...] = ()
    """What else could explain the result."""
    details: tuple[dict[str, Any], ...] = ()
    """A table: one row per cohort, arm or network."""

    @property
    def told(self) -> str:
        """The verdict with what it rests on, e.g. "supported over 5 cohorts"."""
        return f"{self.verdict} {self.breadth}".rstrip()

    @property
    def interval(self) -> tuple[float | None, float | None]:
        return self.low, self.high


def finite(value: float | None) -> float | None:
    """Numbers as JSON has them: None for NaN and infinity."""
    return None if value is None or value != value or value in (inf, -inf) else float(value)


def judged(effect: Effect, margin: float | None = None, *, absence_supports: bool = False) -> Verdict:
    """The verdict of an effect whose positive sign is the claim.

    supported    the interval lies above 0
    contradicted the interval lies below 0, or within ±margin: no effect that counts is left
    absence_supports: the claim is that there is none. Then within ±margin supports, and wholly outside contradicts.

    >>> judged(Effect(1.0, 0.5, 1.5, None, 3, 10)), judged(Effect(0.0, -0.1, 0.1, None, 3, 10), margin=0.2)
    ('supported', 'contradicted')
    """
    low, high = effect.low, effect.high
    if not effect.known:
        return "undecided"
    if absence_supports:
        if margin is not None and -margin <= low and high <= margin:
            return "supported"
        return "contradicted" if margin is not None and (low > margin or high < -margin) else "undecided"
    if low > 0:
        return "supported"
    within = margin is not None and -margin < low and high < margin
    return "contradicted" if high < 0 or within else "undecided"


def scope(effect: Effect, cohorts: str) -> str:
    """Whom the effect is about: "over 4 cohorts", or the one cohort by its name."""
    return f"over {effect.k} cohorts" if effect.k > 1 else f"in cohort {cohorts}"


def what_it_takes(effect: Effect, threshold: float = 0.0, coefficients: int = 1) -> str:
    """How many more cohorts, or images in a single cohort, would bring the interval clear of `threshold`.

    If the estimate and the spread stay as they are: half-width t(k − p) · s / √k with s² = k · error².
    """
    distance = abs(effect.estimate - threshold)
    half = (effect.high - effect.low) / 2
    if not isfinite(half):
        if effect.k < coefficients + 1:
            return f"At least {coefficients + 1} independent cohorts are needed."
        return ""
    if not isfinite(distance) or distance < half / 10:
        return "The estimate lies so close to the limit that no realistic number of images would decide."
    if effect.k == 1:
        return (
            f"About {_rounded(effect.images * (half / distance) ** 2)} images like these (now {effect.images}) would "
            "decide, if the true effect is as estimated."
        )
    spread = half / float(stats.t.ppf(0.975, max(effect.freedom, 1))) * effect.k**0.5
    for k in range(effect.k + 1, 200):
        if float(stats.t.ppf(0.975, k - coefficients)) * spread / k**0.5 < distance:
            return f"About {k} cohorts like these (now {effect.k}) would decide, if the true effect is as estimated."
    return f"More than 200 cohorts like these (now {effect.k}) would be needed, if the true effect is as estimated."


def _rounded(number: float) -> int:
    """Up to two significant digits.

    >>> _rounded(1234.0)
    1300
    """
    step = 10 ** max(int(log(max(number, 1), 10)) - 1, 0)
    return ceil(number / step) * step


def percent_points(value: float) -> str:
    """A difference of two rates in percentage points.

    >>> percent_points(0.123), percent_points(-0.004)
    ('12.3', '−0.4')
    """
    return f"{100 * value:.1f}".replace("-", "−") if isfinite(value) else ("∞" if value > 0 else "−∞")


def factor(value: float) -> str:
    """A ratio with three significant digits.

    >>> factor(3.9123), factor(0.51), factor(float("inf"))
    ('3.91', '0.51', '∞')
    """
    if not isfinite(value):
        return "∞"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def count_of(number: int, unit: str) -> str:
    """A count with its unit, which is given in the plural.

    >>> count_of(1, "independent cohorts"), count_of(8, "networks")
    ('1 independent cohort', '8 networks')
    """
    return f"{number} {unit.removesuffix('s') if number == 1 else unit}"


def listed(names: list[str]) -> str:
    """ "X-TB, H-BR" or "none"."""
    return ", ".join(names) if names else "none"
