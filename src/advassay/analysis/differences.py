"""Differences between two proportions, image by image where paired, and corrections for many questions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from scipy import stats

from advassay.analysis.intervals import FEWEST_PATIENTS, Counts, counts, effective_n, resampled_rates, wilson
from advassay.analysis.outcome_arrays import OutcomeArrays, nearest_epsilon, packs_of
from advassay.errors import SpecError
from advassay.records.store_reader import Records
from advassay.success import Reading


@dataclass(frozen=True)
class Difference:
    """An estimated difference with its interval, all in [−1, 1]."""

    estimate: float
    low: float
    high: float


def square_and_add(a: float, a_low: float, a_high: float, b: float, b_low: float, b_high: float,
                   correlation: float = 0.0) -> Difference:  # fmt: skip
    """Interval of a − b from the intervals of a and b (Zou & Donner 2008, eq. 6); `correlation` of the estimates."""
    d = a - b
    below = (a - a_low) ** 2 + (b_high - b) ** 2 - 2 * correlation * (a - a_low) * (b_high - b)
    above = (a_high - a) ** 2 + (b - b_low) ** 2 - 2 * correlation * (a_high - a) * (b - b_low)
    return Difference(d, d - float(np.sqrt(max(below, 0))), d + float(np.sqrt(max(above, 0))))


def paired_difference(after: np.ndarray, before: np.ndarray, patients: np.ndarray, level: float = 0.95) -> Difference:
    """Rate of `after` minus rate of `before` on the same images (image,) bool; `patients` (image,) codes.

    The difference is the share of images gained minus the share lost; both get Wilson bounds with the effective
    n of their patients, and their multinomial correlation −√(gl / ((1−g)(1−l))).
    """
    flips = np.stack([after & ~before, before & ~after])
    by_patient = counts(flips, np.ones_like(flips), patients)
    size = effective_n(by_patient)
    gained, lost = by_patient.rate
    low, high = wilson(by_patient.rate * size, size, level)
    room = (1 - gained) * (1 - lost)
    correlation = -float(np.sqrt(gained * lost / room)) if room > 0 else 0.0
    return square_and_add(gained, low[0], high[0], lost, low[1], high[1], max(correlation, -1.0))


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's adjusted p values, in the given order; NaN stays NaN and does not count.

    >>> holm(np.array([0.01, 0.04, np.nan, 0.03])).tolist()
    [0.03, 0.06, nan, 0.06]
    """
    return _adjusted(p, _holm_of_sorted)


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Benjamini and Hochberg's adjusted p values (false discovery rate), in the given order; NaN stays NaN.

    >>> benjamini_hochberg(np.array([0.01, 0.04, np.nan, 0.03])).round(3).tolist()
    [0.03, 0.04, nan, 0.04]
    """
    return _adjusted(p, _benjamini_hochberg_of_sorted)


def _adjusted(p: np.ndarray, of_sorted: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The finite p values adjusted together, at most 1; the others as they are."""
    adjusted = np.asarray(p, np.float64).copy()
    known = np.flatnonzero(np.isfinite(adjusted))
    order = known[np.argsort(adjusted[known])]
    adjusted[order] = np.minimum(of_sorted(adjusted[order]), 1)
    return adjusted


def _holm_of_sorted(p: np.ndarray) -> np.ndarray:
    """The step-down procedure of Holm 1979; `p` ascending."""
    return np.maximum.accumulate(p * np.arange(len(p), 0, -1))


def _benjamini_hochberg_of_sorted(p: np.ndarray) -> np.ndarray:
    """The step-up procedure of Benjamini & Hochberg 1995; `p` ascending."""
    shares = np.arange(1, len(p) + 1) / len(p)
    return np.minimum.accumulate((p / shares)[::-1])[::-1]


MCNEMAR = "exact McNemar"
BOOTSTRAP = "paired patient bootstrap"
SIGN = "exact sign test over patients"
FEWEST_CHANGING = 15
"""Patients whose images disagree, below which the sign test stands in for the bootstrap."""


@dataclass(frozen=True)
class Condition:
    """What an image was judged under; None = the main arm, its first step size, ε nearest to 0.02, last iteration."""

    arm: str | None = None
    epsilon: float | None = None
    step: int | None = None
    step_size: str | None = None
    success: Reading = "last"


def paired_comparison(
    records: Records, first: Condition, second: Condition, *, other: Records | None = None,
    correction: Literal["holm", "benjamini-hochberg"] = "holm", level: float = 0.95, seed: int = 0,
) -> pl.DataFrame:  # fmt: skip
    """Success under `second` minus success under `first`, per cohort, on the images attackable under both.

    Columns: cohort, image_type, n, patients, rate_first, rate_second, only_first, only_second (images that fell under
    one alone), difference with low and high (square-and-add of Wilson bounds, effective n), p, test, p_adjusted over
    the cohorts (by `correction`). `other`: the store of `second`, where it is not the same one.
    Raises SpecError for a condition that was not recorded, or an unknown correction.
    """
    if correction not in ("holm", "benjamini-hochberg"):
        raise SpecError(
            f'correction: "holm" or "benjamini-hochberg", got {correction!r}.',
            "holm bounds the chance of any false difference, benjamini-hochberg the share of false ones.",
        )
    rights = {p.header.cohort: p for p in packs_of(other or records, second.arm, second.step_size)}
    lefts = [p for p in packs_of(records, first.arm, first.step_size) if p.header.cohort in rights]
    rows = [_compared(left, first, rights[left.header.cohort], second, level, seed) for left in lefts]
    p = np.array([row["p"] for row in rows], np.float64)
    adjusted = holm(p) if correction == "holm" else benjamini_hochberg(p)
    rows = [row | {"p_adjusted": float(q), "correction": correction} for row, q in zip(rows, adjusted, strict=True)]
    return pl.DataFrame(rows, infer_schema_length=None)


def _compared(
    a: OutcomeArrays, first: Condition, b: OutcomeArrays, second: Condition, level: float, seed: int
) -> dict[str, Any]:
    places = {image: place for place, image in enumerate(b.image_ids)}
    found = [(i, places[image]) for i, image in enumerate(a.image_ids) if image in places]
    left, right = np.array(found, np.int64).reshape(-1, 2).T
    (down_a, counts_a), (down_b, counts_b) = _judged(a, first), _judged(b, second)
    both = counts_a[left] & counts_b[right]
    before, after = down_a[left][both], down_b[right][both]
    patients = np.unique(a.patients[left][both], return_inverse=True)[1]
    difference = paired_difference(after, before, patients, level) if both.any() else None
    p, test = paired_test(after, before, patients, seed)
    return {
        "cohort": a.header.cohort, "image_type": a.header.image_type, "n": int(both.sum()),
        "patients": len(np.unique(patients)),
        "rate_first": float(before.mean()) if both.any() else None,
        "rate_second": float(after.mean()) if both.any() else None,
        "only_first": int((before & ~after).sum()), "only_second": int((after & ~before).sum()),
        "difference": difference.estimate if difference else None, "low": difference.low if difference else None,
        "high": difference.high if difference else None, "p": p, "test": test,
    }  # fmt: skip


def _judged(pack: OutcomeArrays, condition: Condition) -> tuple[np.ndarray, np.ndarray]:
    """(fallen, attackable), both (image,) bool."""
    at, k = pack.at(nearest_epsilon(pack, condition.epsilon)), pack.step(condition.step)
    return pack.fallen(condition.success)[at, k], pack.attackable[at]


def paired_test(after: np.ndarray, before: np.ndarray, patients: np.ndarray, seed: int = 0) -> tuple[float, str]:
    """(two-sided p, name of the test) of no difference; `after`, `before` (image,) bool, `patients` (image,) codes.

    >>> after, before = np.array([1, 1, 1, 1, 1, 0], bool), np.zeros(6, bool)
    >>> paired_test(after, before, np.arange(6))
    (0.0625, 'exact McNemar')
    """
    flips = np.stack([after & ~before, before & ~after])
    points = counts(flips, np.ones_like(flips), patients)
    if (points.images <= 1).all():
        return _binomial(int(flips[0].sum()), int(flips[1].sum())), MCNEMAR
    net = points.events[0] - points.events[1]
    changing = int((points.events > 0).any(0).sum())
    if points.patients[0] < FEWEST_PATIENTS or changing < FEWEST_CHANGING:
        return _binomial(int((net > 0).sum()), int((net < 0).sum())), SIGN
    shares = resampled_rates(Counts(points.events, points.images), seed)
    error = float((shares[:, 0] - shares[:, 1]).std(ddof=1))
    if error == 0:  # every patient's images all changed, and alike
        return _binomial(int((net > 0).sum()), int((net < 0).sum())), SIGN
    number = int(points.patients[0])
    value = abs(float(points.rate[0] - points.rate[1])) / error * np.sqrt((number - 1) / number)
    return float(2 * stats.t.sf(value, number - 1)), BOOTSTRAP


def _binomial(more: int, less: int) -> float:
    return float(stats.binomtest(more, more + less).pvalue) if more + less else 1.0
