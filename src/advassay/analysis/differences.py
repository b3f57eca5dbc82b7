"""Differences between two proportions, and corrections for asking many questions.

Closed forms from Wilson bounds (the "square-and-add" rule): they hold at 0 and 100 %, where a bootstrap says the
interval has no width. Sources: Newcombe, Statistics in Medicine 17 (1998) 873 (independent, method 10) and 2635
(paired); Zou & Donner, ibid. 27 (2008) 1693 (correlated bounds); Holm, Scand. J. Statistics 6 (1979); Benjamini &
Hochberg, JRSS-B 57 (1995).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from advassay.analysis.intervals import Counts, counts, effective_n, wilson


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


def group_difference(first: Counts, second: Counts, level: float = 0.95) -> Difference:
    """Rate of `first` minus rate of `second` over different images (one point each).

    Patients with images in both groups make the true variance smaller, so the interval is on the wide side.
    """
    sizes = [effective_n(side) for side in (first, second)]
    bounds = [wilson(side.rate * size, size, level) for side, size in zip((first, second), sizes, strict=True)]
    (a_low, a_high), (b_low, b_high) = bounds
    return square_and_add(
        float(first.rate[0]),
        float(a_low[0]),
        float(a_high[0]),
        float(second.rate[0]),
        float(b_low[0]),
        float(b_high[0]),
    )


def mean_difference(parts: list[Difference]) -> Difference:
    """Unweighted mean of independent differences, e.g. over cohorts (square-and-add of the mean)."""
    n = len(parts)
    estimate = sum(p.estimate for p in parts) / n
    low = estimate - float(np.sqrt(sum((p.estimate - p.low) ** 2 for p in parts))) / n
    high = estimate + float(np.sqrt(sum((p.high - p.estimate) ** 2 for p in parts))) / n
    return Difference(estimate, low, high)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's adjusted p values, in the given order; NaN stays NaN and does not count.

    >>> holm(np.array([0.01, 0.04, np.nan, 0.03])).tolist()
    [0.03, 0.06, nan, 0.06]
    """
    p = np.asarray(p, np.float64)
    adjusted = p.copy()
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    raised = p[order] * (len(order) - np.arange(len(order)))
    adjusted[order] = np.minimum(np.maximum.accumulate(raised), 1)
    return adjusted


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Benjamini and Hochberg's adjusted p values (false discovery rate), in the given order; NaN stays NaN.

    >>> benjamini_hochberg(np.array([0.01, 0.04, np.nan, 0.03])).round(3).tolist()
    [0.03, 0.04, nan, 0.04]
    """
    p = np.asarray(p, np.float64)
    adjusted = p.copy()
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")[::-1]]
    raised = p[order] * len(order) / np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.minimum.accumulate(raised), 1)
    return adjusted
