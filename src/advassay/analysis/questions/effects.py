"""From one number a network to one effect: seeds averaged, cohorts that share images joined, the rest pooled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from advassay.analysis.dose_response.pooling import Bound, Pooled, pool
from advassay.analysis.packed import Packed

NO_SIZE = 1.5
"""Standard error, in images, of a mean over patients none of whom differ: the rule of three (3 / n) as 1.96 of them."""


@dataclass(frozen=True)
class Value:
    """A number of one cohort (or of cohorts joined) with its sampling variance.

    bound  value, or "at most" / "at least": the number lies beyond the attacked grid
    seeds  networks it is averaged over
    """

    cohorts: tuple[str, ...]
    image_type: str
    value: float
    variance: float
    freedom: float
    images: int
    bound: Bound = "value"
    seeds: int = 1

    @property
    def name(self) -> str:
        return " + ".join(self.cohorts)

    def interval(self, level: float) -> tuple[float, float]:
        """(low, high) over this cohort's images; open where the value is only bounded."""
        half = float(stats.t.ppf(0.5 + level / 2, self.freedom)) * float(np.sqrt(self.variance))
        low = -np.inf if self.bound == "at most" else self.value - half
        high = np.inf if self.bound == "at least" else self.value + half
        return float(low), float(high)


@dataclass(frozen=True)
class Effect:
    """An effect with its interval: pooled over k cohorts, or of one cohort (k = 1)."""

    estimate: float
    low: float
    high: float
    p: float | None
    k: int
    images: int
    prediction: tuple[float, float] | None = None
    tau2: float = 0.0
    i2: float = 0.0
    freedom: float = 0.0

    @property
    def known(self) -> bool:
        """Whether there is an interval at all."""
        return bool(np.isfinite(self.low) or np.isfinite(self.high))


Statistic = Callable[[Packed], Value | None]


def values_of(main: Sequence[Sequence[Packed]], statistic: Statistic) -> list[Value]:
    """One value a cohort: the mean over its seeds, with the variance between trainings where there are several.

    That variance is estimated from all cohorts with several seeds together, and enters those alone.
    """
    of_cohorts = [[value for pack in packs if (value := statistic(pack)) is not None] for packs in main]
    repeated = [np.array([v.value for v in values]) for values in of_cohorts if len(values) > 1]
    freedom = sum(len(values) - 1 for values in repeated)
    between = sum(float(((v - v.mean()) ** 2).sum()) for v in repeated) / freedom if freedom else 0.0
    return [_over_seeds(values, between, freedom) for values in of_cohorts if values]


def _over_seeds(values: list[Value], between: float, freedom: int) -> Value:
    """The same images under every seed: their sampling variance does not shrink with seeds, the trainings' does."""
    if len(values) == 1:
        return values[0]
    bounded = [v for v in values if v.bound != "value"]
    sampling = float(np.mean([v.variance for v in values if v.bound == "value"] or [np.nan]))
    training = between / len(values)
    known = min(v.freedom for v in values)
    total = sampling + training
    # Welch–Satterthwaite: images and trainings each have their own degrees of freedom.
    combined = total**2 / (sampling**2 / known + training**2 / freedom) if total > 0 else known
    return replace(
        values[0],
        value=float(np.mean([v.value for v in values])),
        variance=total,
        freedom=max(combined, 1.0),
        bound=bounded[0].bound if 2 * len(bounded) > len(values) else "value",
        seeds=len(values),
    )


def joined(values: Sequence[Value], main: Sequence[Sequence[Packed]]) -> list[Value]:
    """Cohorts of one image type that share images become one value: their mean, as if wholly dependent."""
    images = {packs[0].header.cohort: set(packs[0].image_ids) for packs in main}
    groups: list[list[Value]] = []
    for value in values:
        touching = [g for g in groups if g[0].image_type == value.image_type and _share(g, value, images)]
        groups = [g for g in groups if g not in touching] + [[*(v for g in touching for v in g), value]]
    return [_join(group) for group in groups]


def _share(group: list[Value], value: Value, images: dict[str, set[str]]) -> bool:
    own = images[value.cohorts[0]]
    return any(not own.isdisjoint(images[other.cohorts[0]]) for other in group)


def _join(group: list[Value]) -> Value:
    if len(group) == 1:
        return group[0]
    bounded = [v for v in group if v.bound != "value"]
    errors = [np.sqrt(v.variance) for v in group if v.bound == "value"]
    return Value(
        cohorts=tuple(name for v in group for name in v.cohorts),
        image_type=group[0].image_type,
        value=float(np.mean([v.value for v in group])),
        variance=float(np.mean(errors)) ** 2 if errors else float("nan"),
        freedom=min(v.freedom for v in group),
        images=sum(v.images for v in group),
        bound=bounded[0].bound if 2 * len(bounded) > len(group) else "value",
        seeds=max(v.seeds for v in group),
    )


def overall(values: Sequence[Value], level: float) -> Effect:
    """The mean effect over cohorts; of one cohort its own, over its images; none: not a number."""
    images = sum(v.images for v in values)
    if not values:
        return Effect(*(float("nan"),) * 3, None, 0, 0)
    if len(values) == 1:
        one = values[0]
        low, high = one.interval(level)
        p = 2 * stats.t.sf(abs(one.value) / np.sqrt(one.variance), one.freedom) if one.variance > 0 else None
        return Effect(one.value, low, high, None if p is None else float(p), 1, images, freedom=one.freedom)
    return effect_of(pooled(values), np.ones(1), level, images)


def pooled(values: Sequence[Value], design: np.ndarray | None = None) -> Pooled:
    """`pool` of these values."""
    return pool(
        np.array([v.value for v in values]), np.array([v.variance for v in values]), design, [v.bound for v in values]
    )


def effect_of(found: Pooled, contrast: np.ndarray, level: float, images: int, new: int = 1) -> Effect:
    """contrast · β of a meta-regression as an effect."""
    estimate, low, high = found.interval(contrast, level)
    prediction = found.prediction(contrast, level, new)
    return Effect(
        estimate, low, high, found.p(contrast), found.k, images, prediction, found.tau2, found.i2, found.freedom
    )


def mean_by_patient(values: np.ndarray, patients: np.ndarray, smallest: float) -> tuple[float, float, int]:
    """(mean over images, its variance with patients as clusters, number of patients).

    `smallest`: the size of a difference that one image would make; where no image differs the variance is that of
    the rule of three, never 0.
    """
    codes = np.unique(patients, return_inverse=True)[1]
    groups = int(codes.max(initial=-1)) + 1
    mean = float(values.mean())
    sums = np.bincount(codes, values - mean, groups)
    variance = float((sums**2).sum()) / len(values) ** 2 * groups / max(groups - 1, 1)
    return mean, max(variance, (NO_SIZE * smallest / groups) ** 2), groups
