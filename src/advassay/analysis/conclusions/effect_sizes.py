"""From one number a network to one effect: seeds averaged, cohorts that share images joined, the rest pooled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import stats
from scipy.special import stdtrit

from advassay.analysis.dose_response.log_logistic import patient_sums
from advassay.analysis.dose_response.pooling import Bound, Pooled, pool
from advassay.analysis.intervals import FEWEST_EFFECTIVE, effective_patients
from advassay.analysis.outcome_arrays import OutcomeArrays

NO_SIZE = 1.5
"""Standard error, in images, of a mean over patients none of whom differ: the rule of three (3 / n) as 1.96 of them."""


@dataclass(frozen=True)
class Value:
    """A number of one cohort (or of cohorts joined) with its sampling variance.

    bound    value, or "at most" / "at least": the number lies beyond the attacked grid; "open": of the numbers it is
             the mean of some lie beyond either end
    seeds    networks it is averaged over
    members  what it is the mean of, where some of that is only bounded; empty else
    """

    cohorts: tuple[str, ...]
    image_type: str
    value: float
    variance: float
    freedom: float
    images: int
    bound: Bound | Literal["open"] = "value"
    seeds: int = 1
    members: tuple[tuple[float, Bound], ...] = ()

    @property
    def name(self) -> str:
        return " + ".join(self.cohorts)

    def interval(self, level: float) -> tuple[float, float]:
        """(low, high) over this cohort's images; open where the value is only bounded."""
        variance = self.variance if self.bound == "value" else np.nan_to_num(self.variance)  # a bound is certain
        half = float(stdtrit(self.freedom, 0.5 + level / 2)) * float(np.sqrt(variance))
        low = -np.inf if self.bound in ("at most", "open") else self.value - half
        high = np.inf if self.bound in ("at least", "open") else self.value + half
        return float(low), float(high)

    @property
    def parts(self) -> tuple[tuple[float, Bound], ...]:
        """What is pooled of it: its members, or itself."""
        return self.members or ((self.value, self.bound),)  # type: ignore[return-value]  # "open" has members


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


Statistic = Callable[[OutcomeArrays], Value | None]


def values_of(main: Sequence[Sequence[OutcomeArrays]], statistic: Statistic) -> list[Value]:
    """One value a cohort: the mean over its seeds, with the variance between trainings where there are several.

    That variance is estimated from all cohorts with several seeds inside the grid together, and enters those with
    several seeds alone. A value whose variance is not known (`few_patients`) says nothing and is left out.
    """
    found = [[value for pack in packs if (value := statistic(pack)) is not None] for packs in main]
    of_cohorts = [[v for v in values if v.bound != "value" or np.isfinite(v.variance)] for values in found]
    inside = [np.array([v.value for v in values if v.bound == "value"]) for values in of_cohorts]
    repeated = [values for values in inside if len(values) > 1]
    freedom = sum(len(values) - 1 for values in repeated)
    between = sum(float(((v - v.mean()) ** 2).sum()) for v in repeated) / freedom if freedom else 0.0
    return [_over_seeds(values, between, freedom) for values in of_cohorts if values]


def _over_seeds(values: list[Value], between: float, freedom: int) -> Value:
    """The same images under every seed: their sampling variance does not shrink with seeds, the trainings' does."""
    if len(values) == 1:
        return values[0]
    sampling = float(np.mean([v.variance for v in values if v.bound == "value"] or [np.nan]))
    training = between / len(values)
    known = min(v.freedom for v in values)
    total = sampling + training
    # Welch–Satterthwaite: images and trainings each have their own degrees of freedom.
    trained = training**2 / freedom if freedom else 0.0
    combined = total**2 / (sampling**2 / known + trained) if total > 0 else known
    return replace(_mean_of(values), cohorts=values[0].cohorts, images=values[0].images, variance=total,
                   freedom=max(combined, 1.0), seeds=len(values))  # fmt: skip


def _mean_of(values: Sequence[Value]) -> Value:
    """The mean of numbers of which some may only be bounded: bounded itself, and its members are kept for `pool`."""
    bounds = {v.bound for v in values} - {"value"}
    bound = bounds.pop() if len(bounds) == 1 else "open" if bounds else "value"
    errors = [np.sqrt(v.variance) for v in values if v.bound == "value"]
    kinds = list(dict.fromkeys(v.image_type for v in values))
    return Value(
        cohorts=tuple(name for v in values for name in v.cohorts),
        image_type=" + ".join(kinds),
        value=float(np.mean([v.value for v in values])),
        variance=float(np.mean(errors)) ** 2 if errors else float("nan"),
        freedom=min(v.freedom for v in values),
        images=sum(v.images for v in values),
        bound=bound,
        seeds=max(v.seeds for v in values),
        members=() if bound == "value" else tuple(part for v in values for part in v.parts),
    )


SHARED = 0.05
"""Share of the smaller cohort's images that two cohorts have in common, from which on they count as one: the error of
a mean of two independent numbers is 2.5% too small where they are correlated by 0.05."""


def joined(
    values: Sequence[Value], main: Sequence[Sequence[OutcomeArrays]], *, within_type: bool = False
) -> list[Value]:
    """Cohorts that share images become one value: their mean, as if wholly dependent.

    `within_type`: only cohorts of one image type, where types are compared.
    """
    images = {packs[0].header.cohort: set(packs[0].image_ids) for packs in main}
    groups: list[list[Value]] = []
    for value in values:
        alike = [g for g in groups if not within_type or g[0].image_type == value.image_type]
        touching = [g for g in alike if _share(g, value, images)]
        groups = [g for g in groups if g not in touching] + [[*(v for g in touching for v in g), value]]
    return [group[0] if len(group) == 1 else _mean_of(group) for group in groups]


def shared_across(
    main: Sequence[Sequence[OutcomeArrays]], kind_of_pack: Callable[[OutcomeArrays], str]
) -> list[tuple[str, str]]:
    """Pairs of cohorts of different image types that share images."""
    images = {packs[0].header.cohort: set(packs[0].image_ids) for packs in main}
    firsts = [packs[0] for packs in main]
    return [
        (a.header.cohort, b.header.cohort)
        for i, a in enumerate(firsts)
        for b in firsts[i + 1 :]
        if kind_of_pack(a) != kind_of_pack(b) and _overlap(images[a.header.cohort], images[b.header.cohort])
    ]


def few_patients(main: Sequence[Sequence[OutcomeArrays]]) -> list[str]:
    """Cohorts with fewer than two effective patients: how much patients differ is not known, so they say nothing."""
    return [
        packs[0].header.cohort
        for packs in main
        if 0 < effective_patients(packs[0].patients[packs[0].attackable.all(axis=0)]) < FEWEST_EFFECTIVE
    ]


def told_few_patients(main: Sequence[Sequence[OutcomeArrays]]) -> tuple[str, ...]:
    """One sentence about `few_patients`; none where there are none."""
    names = few_patients(main)
    if not names:
        return ()
    return (
        f"Left out: {', '.join(names)}. One patient has so many of the images that they do not tell how much patients "
        f"differ (fewer than {FEWEST_EFFECTIVE:g} effective patients).",
    )


def _share(group: list[Value], value: Value, images: dict[str, set[str]]) -> bool:
    own = images[value.cohorts[0]]
    return any(_overlap(own, images[name]) for other in group for name in other.cohorts)


def _overlap(these: set[str], others: set[str]) -> bool:
    return len(these & others) > SHARED * min(len(these), len(others))


def overall(values: Sequence[Value], level: float) -> Effect:
    """The mean effect over cohorts; of one cohort its own, over its images; none: not a number.

    Where too few cohorts lie inside the grid for a mean and the others all beyond one end: the median's bound.
    """
    images = sum(v.images for v in values)
    if not values:
        return Effect(*(float("nan"),) * 3, None, 0, 0)
    if len(values) == 1:
        one = values[0]
        low, high = one.interval(level)
        tested = one.bound == "value" and one.variance > 0
        p = float(2 * stats.t.sf(abs(one.value) / np.sqrt(one.variance), one.freedom)) if tested else None
        return Effect(one.value, low, high, p, 1, images, freedom=one.freedom)
    effect = effect_of(pooled(values), np.ones(1), level, images)
    return effect if effect.known else _bound_of_median(values, level, images)


def _bound_of_median(values: Sequence[Value], level: float, images: int) -> Effect:
    """A one-sided interval of the median over cohorts, whatever their distribution: the sign test turned round.

    Fewer than j of k independent cohorts lie on one side of the median with the binomial chance of k and one half. Six
    cohorts beyond one end are the fewest that say something at 95%.
    """
    k = len(values)
    unknown = Effect(float("nan"), -np.inf, np.inf, None, k, images)
    directions = {v.bound for v in values} - {"value"}
    if len(directions) != 1 or "open" in directions:
        return unknown
    sign = 1 if "at least" in directions else -1
    j = int(stats.binom.ppf((1 - level) / 2, k, 0.5))
    while j > 0 and stats.binom.cdf(j - 1, k, 0.5) > (1 - level) / 2:
        j -= 1
    if j == 0:
        return unknown
    end = sign * sorted(sign * v.value for v in values)[j - 1]
    middle = float(np.median([v.value for v in values]))
    return Effect(middle, *((end, np.inf) if sign > 0 else (-np.inf, end)), None, k, images)


def pooled(values: Sequence[Value], design: np.ndarray | None = None) -> Pooled:
    """`pool` of these values."""
    parts = [(value, bound, i) for i, v in enumerate(values) for value, bound in v.parts]
    return pool(
        np.array([value for value, _, _ in parts]),
        np.array([v.variance for v in values]),
        design,
        [bound for _, bound, _ in parts],
        np.array([unit for _, _, unit in parts], np.int64),
    )


def effect_of(found: Pooled, contrast: np.ndarray, level: float, images: int, new: int = 1) -> Effect:
    """contrast · β of a meta-regression as an effect."""
    estimate, low, high = found.interval(contrast, level)
    prediction = found.prediction(contrast, level, new)
    tau2 = found.fit(contrast).tau2
    return Effect(estimate, low, high, found.p(contrast), found.k, images, prediction, tau2, found.i2, found.freedom)


def mean_by_patient(values: np.ndarray, patients: np.ndarray, smallest: float) -> tuple[float, float, float]:
    """(mean over images, its variance with patients as clusters, Kish's effective number of patients).

    `smallest`: the size of a difference that one image would make; where no image differs the variance is that of
    the rule of three, never 0. NaN with fewer than two effective patients: how patients differ is then not known.
    """
    effective = effective_patients(patients)
    mean = float(values.mean())
    if effective < FEWEST_EFFECTIVE:
        return mean, float("nan"), effective
    sums = patient_sums((values - mean)[:, None] / len(values), patients, patients)
    return mean, max(float((sums**2).sum()), (NO_SIZE * smallest / effective) ** 2), effective
