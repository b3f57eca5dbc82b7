"""What a conclusion is: a question put to the records, with everything its verdict rests on."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, exp, inf, isfinite, log
from typing import Any, Literal

from scipy.special import stdtrit

from advassay.analysis.conclusions.effect_sizes import Effect
from advassay.analysis.interval_text import Kind, interval_text, is_too_wide
from advassay.spec.base_model import Frozen

Verdict = Literal["supported", "contradicted", "undecided"]

LEVEL = 0.95


class Conclusion(Frozen):
    """One conclusion of the reference study as a tested statement about these records."""

    number: int
    """1 amplitude, 2 image type, 3 iterations, 4 confidence, 5 training size, 6 transfer, 7 features; others: a
    package's."""
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
    """The same, adjusted for the questions that test for an effect, 1, 2 and 4 (Holm)."""
    n: int
    """Units that decide (cohorts or networks, as `unit` says)."""
    unit: str
    images: int = 0
    """Images behind the effect."""
    verdict: Verdict
    verdict_holm: Verdict | None = None
    """The verdict after Holm's correction; those of questions 3 and 5 rest on a margin and stay."""
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

    def __repr__(self) -> str:
        """A summary; `model_dump()` gives every field."""
        return f"Conclusion({self.number}. {self.title}: {self.told}{f'; {self.effect}' if self.effect else ''})"

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


def conclude(
    number: int, effect: Effect, verdict: Verdict, *, kind: Kind, unit: str, rests_on: str, needed: str,
    n: int | None = None, spread_from: int | None = 2, effect_unit: str = "", **said: Any,
) -> Conclusion:  # fmt: skip
    """A conclusion from its effect: numbers in the effect's own unit, and what is said of it.

    kind         the effect: a ratio of two ε50 (estimated as a logarithm) or a difference of success rates
    n            units that decide, None = the effect's
    rests_on     what a verdict rests on, kept where there is one; `needed` is kept where there is none
    spread_from  units from which on the spread between cohorts is told; None = never
    effect_unit  follows the printed estimate
    said         the other fields of `Conclusion`
    """
    estimate, low, high = in_unit(kind, effect)
    prediction = effect.prediction or (None, None)
    named = "ratio " if kind == "ratio" else ""
    return Conclusion(
        number=number,
        estimate=finite(estimate),
        low=_closed(kind, low),
        high=_closed(kind, high),
        effect=f"{named}{interval_text(kind, estimate, low, high, effect_unit)}" if effect.known else "no estimate",
        prediction_low=_closed(kind, *_units(kind, prediction[:1])),
        prediction_high=_closed(kind, *_units(kind, prediction[1:])),
        i2=effect.i2 if spread_from is not None and effect.k >= spread_from else None,
        p=effect.p,
        n=effect.k if n is None else n,
        unit=unit,
        images=effect.images,
        verdict=verdict,
        breadth=rests_on if verdict != "undecided" else "",
        needed=needed if verdict == "undecided" else "",
        **said,
    )


def in_unit(kind: Kind, effect: Effect) -> tuple[float, float, float]:
    """(estimate, low, high) in the unit that is printed: ratios are estimated as logarithms."""
    estimate, low, high = _units(kind, (effect.estimate, effect.low, effect.high))
    return estimate, low, high


def _units(kind: Kind, values: Sequence[float | None]) -> list[float]:
    known = [float("nan") if value is None else float(value) for value in values]
    return [as_ratio(value) for value in known] if kind == "ratio" else known


_LARGEST_LOG = 700.0
"""Above it a double has no exponential."""


def as_ratio(log_value: float) -> float:
    """exp of a log ratio; infinite where that is no number any more.

    >>> as_ratio(0.0), as_ratio(float("-inf")), as_ratio(1e6)
    (1.0, 0.0, inf)
    """
    return inf if log_value > _LARGEST_LOG else exp(log_value)


def _closed(kind: Kind, value: float) -> float | None:
    """An end of an interval; None where it is open, which for a ratio is 0 too."""
    return None if kind == "ratio" and value == 0 else finite(value)


def verdict_of(effect: Effect, margin: float | None = None, *, absence_supports: bool = False) -> Verdict:
    """The verdict of an effect whose positive sign is the claim.

    supported    the interval lies above 0
    contradicted the interval lies below 0, or within ±margin: no effect that counts is left
    absence_supports: the claim is that there is none. Then within ±margin supports, and wholly outside contradicts.

    >>> verdict_of(Effect(1.0, 0.5, 1.5, None, 3, 10)), verdict_of(Effect(0.0, -0.1, 0.1, None, 3, 10), margin=0.2)
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


MOST_UNITS = 200
"""Cohorts or networks beyond which no more are looked for."""


def what_it_takes(
    kind: Kind, effect: Effect, level: float, threshold: float = 0.0, coefficients: int = 1, unit: str = "cohorts",
    *, margin: float | None = None,
) -> str:  # fmt: skip
    """How many more units, or images in a single cohort, would bring an interval clear of `threshold`.

    If the estimate and the spread stay as they are: half-width t(k − p) · s / √k with s² = k · error².
    `margin`: an interval within ±margin decides too, in the effect's unit (a logarithm for ratios).
    """
    distance = abs(effect.estimate - threshold)
    if margin is not None:
        distance = max(distance, margin - abs(effect.estimate))
    half = (effect.high - effect.low) / 2
    if not isfinite(half):
        if effect.k < coefficients + 1:
            return f"At least {coefficients + 1} independent {unit} are needed."
        return f"More {unit} are needed; how many cannot be told from an interval that is open."
    if is_too_wide(kind, *in_unit(kind, effect)[1:]):
        return f"More {'images' if effect.k == 1 else unit} are needed; the interval is too wide to tell how many."
    if not isfinite(distance) or distance < half / 10:
        return "The estimate lies so close to the limit that no realistic number of images would decide."
    if effect.k == 1:
        return (
            f"About {_rounded(effect.images * (half / distance) ** 2)} images like these (now {effect.images}) would "
            "decide, if the true effect is as estimated."
        )
    upper = 0.5 + level / 2
    spread = half / float(stdtrit(max(effect.freedom, 1), upper)) * effect.k**0.5
    for k in range(effect.k + 1, MOST_UNITS):
        if float(stdtrit(k - coefficients, upper)) * spread / k**0.5 < distance:
            return f"About {k} {unit} like these (now {effect.k}) would decide, if the true effect is as estimated."
    more = f"More than {MOST_UNITS} {unit} like these (now {effect.k}) would be needed"
    return f"{more}, if the true effect is as estimated."


def _rounded(number: float) -> int:
    """Up to two significant digits.

    >>> _rounded(1234.0)
    1300
    """
    step = 10 ** max(int(log(max(number, 1), 10)) - 1, 0)
    return ceil(number / step) * step


def count_of(number: int, unit: str) -> str:
    """A count with its unit, which is given in the plural.

    >>> count_of(1, "independent cohorts"), count_of(8, "networks")
    ('1 independent cohort', '8 networks')
    """
    return f"{number} {unit.removesuffix('s') if number == 1 else unit}"


def listed(names: list[str]) -> str:
    """ "X-TB, H-BR" or "none"."""
    return ", ".join(names) if names else "none"
