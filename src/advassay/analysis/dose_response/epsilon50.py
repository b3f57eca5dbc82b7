"""ε50 of a network: the amplitude at which half of the images first classified correctly are misclassified.

Absolute: images that never fall count among all, so with an asymptote below one half ε50 lies beyond the grid. It is
read from the log-logistic curve. Beside it stands a bracket that assumes no curve: the amplitudes of the grid between
which the share crosses one half, rounded outward. Where the two disagree or the curve does not fit, the bracket is
what is printed. Nothing is extrapolated beyond the grid.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from scipy import stats
from scipy.special import stdtrit

from advassay.analysis.dose_response.log_logistic import LogLogistic, fit, patient_sums
from advassay.analysis.dose_response.pooling import Bound
from advassay.analysis.dose_response.thresholds import Thresholds
from advassay.analysis.intervals import FEWEST_EFFECTIVE, Counts, counts, effective_n, effective_patients, wilson

Side = Literal["inside", "below", "above", "unknown"]
Estimator = Literal["curve", "bracket"]

BETWEEN = 0.03
"""Standard error added to ln ε50 for the shape of the curve between two amplitudes, as a share of their distance in
ln ε. Largest bias of the fitted curve over normal, logistic, Gumbel (both ways) and Student t₃ thresholds with 0 and
10% that never fall, on a grid of factors 2 to 2.5 (benchmarks/verdicts.py): 0.03 to 0.04 of the distance."""
REJECTED = 0.01
"""p value of the goodness of fit below which the curve is not printed."""
FEWEST_FREEDOM = 0.5
"""Degrees of freedom below which the grid is too short to tell whether the curve fits."""
BETWEEN_ALONE = 0.08
"""The same where one dose alone has a share between the curve's ends: it tells where the curve lies or how steep it is,
not both. Twice it is the largest bias over the same shapes with standard deviations of 0.15 to 0.7 in ln ε."""
STEEP = 0.05
"""Part of the last share below which a dose has hardly any image, and 1 less it above which it has nearly all that fall
at some amplitude. Where that is so of the doses on either side of ε50, they do not tell where between them it lies: all
that is known then is the bracket."""
FEWEST = 3
"""Images below which nothing is estimated."""


@dataclass(frozen=True)
class Epsilon50:
    """ln ε50 of one network with what is known of it.

    side        where the share crosses one half: inside the grid, below its smallest or above its largest dose
    log         estimate of ln ε50, inside the grid; the nearer end of the grid where ε50 lies outside
    sampling    variance of `log` between images, if these were independent; NaN outside the grid
    between     variance of `log` for the shape of the curve between two doses; NaN outside the grid
    bracket     (low, high) indices into doses, −1 = below the smallest, number of doses = above the largest
    fit_p       goodness of fit; None where the grid has too few doses to tell
    influence   (image,): what each image adds to `log`
    determined  False where the two doses beside ε50 have shares so near 0 and 1 that any point between fits
    """

    data: Thresholds
    curve: LogLogistic | None
    side: Side
    log: float
    sampling: float
    between: float
    bracket: tuple[int, int]
    fit_p: float | None
    influence: np.ndarray
    determined: bool = True

    @cached_property
    def patients(self) -> float:
        """Kish's effective number of patients."""
        return effective_patients(self.data.patients)

    @property
    def freedom(self) -> float:
        """Degrees of freedom: effective patients less one."""
        return max(self.patients - 1, 1.0)

    @cached_property
    def variance(self) -> float:
        """Of `log`: the larger of the images' and the patients', plus the shape between two doses.

        NaN outside the grid, and with fewer than two effective patients: how patients differ is then not known.
        """
        if self.patients < FEWEST_EFFECTIVE:
            return float("nan")
        return max(self.sampling, float((self.sums(self.data.patients) ** 2).sum())) + self.between

    def sums(self, patients: np.ndarray) -> np.ndarray:
        """(patient of `patients`,): each patient's part of `log`, whose squares add up to its clustered variance."""
        return patient_sums(self.influence[:, None], self.data.patients, patients)[:, 0]

    @property
    def known(self) -> tuple[float, Bound] | None:
        """What is known of ln ε50: a value inside the grid, else a bound; None where nothing is.

        The bound is the dose at which the share has crossed one half with confidence, not the end of the grid that the
        observed share alone lies beyond.
        """
        low, high = self._edges()
        if self.side == "below" and np.isfinite(high):
            return high, "at most"
        if self.side == "above" and np.isfinite(low):
            return low, "at least"
        return (self.log, "value") if self.side == "inside" and np.isfinite(self.variance) else None

    @property
    def trusted(self) -> bool:
        """Whether the curve's interval is printed: it fits, the doses determine it, and it lies in the bracket."""
        if self.side != "inside" or (self.fit_p is not None and self.fit_p < REJECTED):
            return False
        if not self.determined or self.patients < FEWEST_EFFECTIVE:
            return False
        low, high = self._edges()
        return bool(low <= self.log <= high)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """(low, high) of ε50 as printed: 0 below the grid, infinity beyond it."""
        low, high = (float(np.exp(edge)) for edge in self._edges())
        if not self.trusted:
            return low, high
        half = float(stdtrit(self.freedom, 0.5 + level / 2)) * np.sqrt(self.variance)
        smallest, largest = self.data.doses[[0, -1]]
        fitted = float(np.exp(self.log - half)), float(np.exp(self.log + half))
        return (fitted[0] if fitted[0] >= smallest else 0.0), (fitted[1] if fitted[1] <= largest else float("inf"))

    @property
    def estimate(self) -> float:
        """ε50: 0 below the grid, infinity beyond, NaN without images, inside a number (the curve's)."""
        ends = {"below": 0.0, "above": float("inf"), "unknown": float("nan")}
        return ends.get(self.side, float(np.exp(self.log)))

    def _edges(self) -> tuple[float, float]:
        """The bracket as ln ε, infinite where open."""
        logs = np.r_[-np.inf, np.log(self.data.doses), np.inf]
        return float(logs[self.bracket[0] + 1]), float(logs[self.bracket[1] + 1])


def epsilon50_of(data: Thresholds, level: float = 0.95) -> Epsilon50:
    """Estimate ε50 of one network from its thresholds."""
    if data.images < FEWEST:
        nan, nothing = float("nan"), np.zeros(data.images)
        return Epsilon50(data, None, "unknown", nan, nan, nan, (-1, len(data.doses)), None, nothing)
    curve, logs, share = fit(data), np.log(data.doses), data.share
    bracket, gap, p = _bracket(data, level), _gap(data), _goodness(data, curve)
    if share[0] > 0.5 or share[-1] < 0.5:
        side, end = ("below", logs[0]) if share[0] > 0.5 else ("above", logs[-1])
        nan, nothing = float("nan"), np.zeros(data.images)
        return Epsilon50(data, curve, side, float(end), nan, nan, bracket, p, nothing)  # type: ignore[arg-type]
    value, gradient = curve.log_epsilon()
    found = Epsilon50(
        data,
        curve,
        "inside",
        float(np.clip(value, logs[0], logs[-1])),
        float(gradient @ curve.model_covariance @ gradient),
        # Not finite: a fitted asymptote just below one half where the last share is just above it.
        (_between_doses(data) * gap) ** 2 if np.isfinite(value) else gap**2,
        bracket,
        p,
        curve.influence @ gradient,
        _is_determined(data),
    )
    if p is not None and p < REJECTED:
        found = replace(found, between=found.between + _misfit(data, curve, value, gap))
    return found if found.determined else replace(found, between=max(found.between, gap**2 / 12))


def by_bracket(found: Epsilon50) -> Epsilon50:
    """The same ε50 without a curve: the middle, in ln ε, of the amplitudes that bracket it, uniform between them."""
    if found.side != "inside":
        return replace(found, curve=None)
    nothing = np.zeros(found.data.images)
    logs = np.log(found.data.doses)
    low, high = logs[max(found.bracket[0], 0)], logs[min(found.bracket[1], len(logs) - 1)]
    between = max(float(high - low), _gap(found.data)) ** 2 / 12
    return replace(found, curve=None, log=float(low + high) / 2, sampling=0.0, between=between, influence=nothing)


def _gap(data: Thresholds) -> float:
    """Distance in ln ε of the two doses between which the share crosses one half."""
    logs = np.log(data.doses)
    if len(logs) < 2:
        return 1.0
    at = int(np.clip(np.searchsorted(data.share, 0.5), 1, len(logs) - 1))
    return float(logs[at] - logs[at - 1])


def _is_determined(data: Thresholds) -> bool:
    """Whether some share beside the crossing of one half is between the curve's ends, so that it can say where."""
    at = int(np.searchsorted(data.share, 0.5))
    return bool(_partial(data)[max(at - 1, 0) : at + 1].any())


def _partial(data: Thresholds) -> np.ndarray:
    """(dose,) bool: a share of the last one's 5 to 95%."""
    share = data.share / data.share[-1]
    return np.asarray((share > STEEP) & (share < 1 - STEEP))


def _between_doses(data: Thresholds) -> float:
    return BETWEEN if _partial(data).sum() > 1 else BETWEEN_ALONE


def _misfit(data: Thresholds, curve: LogLogistic, value: float, gap: float) -> float:
    """Variance of ln ε50 for a curve that does not fit: how far it misses the observed shares on either side of ε50,
    over its slope there. At most that of a value known only to lie between the two doses.
    """
    most = gap**2 / 12
    if not np.isfinite(value):
        return most
    at = int(np.clip(np.searchsorted(np.log(data.doses), value), 1, len(data.doses) - 1))
    beside = slice(at - 1, at + 1)
    missed = float(np.abs(curve.share(data.doses[beside]) - data.share[beside]).max())
    steepness = float(np.diff(curve.share(np.exp(value + np.array([-0.05, 0.05]))))[0]) / 0.1
    return min(most, (missed / steepness) ** 2) if steepness > 0 else most


def _bracket(data: Thresholds, level: float) -> tuple[int, int]:
    """The last dose at which less than half have fallen and the first at which more have, both with confidence."""
    points = _by_patient(data)
    size = effective_n(points)
    low, high = wilson(points.rate * size, size, level)
    below, above = np.flatnonzero(high < 0.5), np.flatnonzero(low > 0.5)
    return int(below[-1]) if below.size else -1, int(above[0]) if above.size else len(data.doses)


def _by_patient(data: Thresholds) -> Counts:
    codes = np.unique(data.patients, return_inverse=True)[1]
    fallen = data.category[None, :] <= np.arange(len(data.doses))[:, None]
    return counts(fallen, np.ones_like(fallen), codes)


def _goodness(data: Thresholds, curve: LogLogistic) -> float | None:
    """p of Pearson's X² over the intervals, those with fewer than one expected image joined to their neighbour.

    Divided by the mean design effect of the intervals' counts (Rao & Scott, JASA 76 (1981) 221), since images of one
    patient are alike. None where no degree of freedom is left.
    """
    expected, observed = data.images * curve.probability[0], data.counts.astype(float)
    cells = _joined(expected)
    freedom = int(cells.max()) - curve.freedom
    if freedom < FEWEST_FREEDOM:
        return None
    e, o = np.bincount(cells, expected), np.bincount(cells, observed)
    return float(stats.chi2.sf(((o - e) ** 2 / e).sum() / _design_effect(data), freedom))


def _joined(expected: np.ndarray) -> np.ndarray:
    """(interval,) cell of each interval, so that every cell expects at least one image."""
    cells, total, cell = np.zeros(len(expected), np.int64), 0.0, 0
    for i, value in enumerate(expected):
        cells[i] = cell
        total += value
        if total >= 1 and expected[i + 1 :].sum() >= 1:
            cell, total = cell + 1, 0.0
    return cells


def _design_effect(data: Thresholds) -> float:
    """Variance of the intervals' counts under resampled patients, over that of independent images; at least 1."""
    groups = data.n_patients
    if groups == data.images or groups < 2:
        return 1.0
    codes = np.unique(data.patients, return_inverse=True)[1]
    one = np.zeros((data.images, len(data.doses) + 1))
    one[np.arange(data.images), data.category] = 1
    centred = one - one.mean(0)
    sums = np.stack([np.bincount(codes, column, groups) for column in centred.T])
    return max(1.0, float((sums**2).sum() / (centred**2).sum()))
