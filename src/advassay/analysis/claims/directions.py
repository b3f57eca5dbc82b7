"""Rising, falling, flat: what one cohort's success does over a dose (ε or iterations)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from advassay.analysis.claims.visible import Bound, bound
from advassay.analysis.differences import Difference, holm, paired_difference
from advassay.analysis.intervals import counts
from advassay.analysis.packed import Packed
from advassay.analysis.trend import Trend, fit_trend

Direction = Literal["rising", "falling", "flat", "undecided", "ceiling", "floor", "no data"]

FLAT = 0.1
"""Change of the logit per doubling of the dose below which a curve is called flat (0.1 ≈ 2.5 points at 50 %)."""

FLAT_CHANGE = 0.05
"""And the paired change from the smallest to the largest dose must be shown to be smaller than this."""
FEWEST_CHANGING = 6
"""Patients with an image that changes over the doses, below which no direction is called: with 6 changes one way the
exact test gives p = 0.03, with 5 it cannot reach 0.05."""
NEAR = 0.9
"""Success at every dose from which a curve counts as at its ceiling (at its floor below 1 − this) when fewer than
FEWEST_CHANGING patients ever stand (fall): so few can show no direction at all."""


@dataclass(frozen=True)
class Course:
    """One cohort over one dose."""

    cohort: str
    image_type: str
    arm: str
    doses: tuple[float, ...]
    rates: tuple[float, ...]
    n: int
    patients: int
    trend: Trend | None
    change: Difference
    """Success at the largest dose minus at the smallest, paired by image."""
    direction: Direction
    p: float
    """Holm-adjusted over the cohorts once `decided`."""

    def slope_per_doubling(self, level: float) -> tuple[float, float, float]:
        """(estimate, low, high) of the logit's change per doubling of the dose; NaN where no slope fits."""
        if self.trend is None or not self.trend.converged:
            return (float("nan"),) * 3
        low, high = self.trend.interval(level)
        return self.trend.slope * np.log(2), low * np.log(2), high * np.log(2)


def course(pack: Packed, doses: np.ndarray, fallen: np.ndarray, attackable: np.ndarray, level: float) -> Course:
    """`doses` (dose,) > 0, `fallen` and `attackable` (dose, image) bool. Direction by the slope's interval, before
    any correction for several cohorts.
    """
    kept = attackable.all(0)
    fallen = fallen[:, kept]
    points = counts(fallen, np.ones_like(fallen), pack.patients[kept])
    rates = points.rate
    base = Course(
        cohort=pack.header.cohort, image_type=pack.header.image_type, arm=pack.header.arm,
        doses=tuple(doses.tolist()), rates=tuple(rates.tolist()), n=int(kept.sum()),
        patients=int(points.patients.max(initial=0)), trend=None,
        change=Difference(float("nan"), float("nan"), float("nan")), direction="no data", p=float("nan"),
    )  # fmt: skip
    if not len(doses) or not kept.any():
        return base
    base = replace(base, change=paired_difference(fallen[-1], fallen[0], pack.patients[kept], level))
    at = bound(rates.tolist()) or _near(rates, fallen, pack.patients[kept])
    if at:
        return replace(base, direction=at)
    trend = fit_trend(doses, points)
    changing = _patients((fallen != fallen[:1]).any(0), pack.patients[kept])
    inner = paired_difference(fallen[-1], fallen[0], pack.patients[kept], 2 * level - 1)
    direction = _direction(trend, base.change, inner, changing, level)
    if opposed(direction, base.change):
        direction = "undecided"
    if changing < FEWEST_CHANGING:  # a clustered covariance of so few changes is far too small: no slope, no p
        return replace(base, direction=direction)
    return replace(base, trend=trend, p=trend.p, direction=direction)


def _near(rates: np.ndarray, fallen: np.ndarray, patients: np.ndarray) -> Bound | None:
    """The end of the scale that so few patients ever leave that no direction could be called."""
    if rates.min() >= NEAR and _patients((~fallen).any(axis=0), patients) < FEWEST_CHANGING:
        return "ceiling"
    return "floor" if rates.max() <= 1 - NEAR and _patients(fallen.any(axis=0), patients) < FEWEST_CHANGING else None


def _patients(images: np.ndarray | np.bool, patients: np.ndarray) -> int:
    """Patients with one of these images (image,) bool."""
    return len(np.unique(patients[images]))


def _direction(trend: Trend, change: Difference, inner: Difference, changing: int, level: float) -> Direction:
    """By the slope; where the data are separated (no slope fits) by the paired change alone.

    Flat by two one-sided tests at 1 − level: the intervals of level 2·level − 1 lie within both margins.
    """
    low, high = trend.interval(level) if trend.converged else (change.low, change.high)
    if changing >= FEWEST_CHANGING and low > 0:
        return "rising"
    if changing >= FEWEST_CHANGING and high < 0:
        return "falling"
    slope = trend.interval(2 * level - 1) if trend.converged else (-np.inf, np.inf)
    steady = max(abs(slope[0]), abs(slope[1])) * np.log(2) < FLAT
    return "flat" if steady and max(abs(inner.low), abs(inner.high)) < FLAT_CHANGE else "undecided"


def opposed(direction: Direction, change: Difference) -> bool:
    """Whether the paired change from the smallest to the largest dose is shown to go the other way than the slope."""
    return (direction == "rising" and change.high < 0) or (direction == "falling" and change.low > 0)


def cross_check(c: Course) -> str:
    """What the paired comparison of smallest and largest dose says: rises, falls, or no change shown."""
    return "rises" if c.change.low > 0 else "falls" if c.change.high < 0 else "no change shown"


def decided(courses: list[Course], level: float) -> list[Course]:
    """The same with Holm's correction over cohorts: rising and falling need the adjusted p as well."""
    adjusted = holm(np.array([c.p for c in courses]))
    return [
        replace(c, p=float(p), direction="undecided")
        if c.direction in ("rising", "falling") and np.isfinite(p) and p > 1 - level
        else replace(c, p=float(p))
        for c, p in zip(courses, adjusted, strict=True)
    ]
