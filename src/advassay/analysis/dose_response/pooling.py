"""One effect from several cohorts: random-effects meta-regression, cohorts outside the grid as censored values.

    y_i = x_i · β + u_i + e_i          u_i ~ N(0, τ²) between cohorts, e_i ~ N(0, v_i) within

Two fits, and the wider of their intervals counts:

weighted  weights 1 / (v + τ²), τ² by Paule & Mandel (J. Res. NBS 87 (1982) 377), interval by Hartung & Knapp
          (Statistics in Medicine 20 (2001) 3875; for regression: Knapp & Hartung, ibid. 22 (2003) 2693) with their
          factor never below 1 (Röver, Knapp & Friede, BMC Med. Res. Methodol. 15 (2015) 99).
equal     a vote a cohort: least squares, τ² by Hedges & Olkin (Statistical Methods for Meta-Analysis (1985) ch. 9).

Both have Student's t with k − p degrees of freedom. Where cohorts are equally precise the two are the same. Where one
cohort is far more precise than the others, the weighted fit rests on it alone, τ² is then all but unknown, and its
interval is too narrow (IntHout, Ioannidis & Borm, BMC Med. Res. Methodol. 14 (2014) 25). The t interval of the plain
mean holds its level whatever the variances (Bakirov & Székely, J. Math. Sci. 139 (2006) 6497; Ibragimov & Müller,
J. Bus. Econ. Stat. 28 (2010) 453), for levels of 0.917 and above.

Prediction interval: Higgins, Thompson & Spiegelhalter, JRSS-A 172 (2009) 137. A value known only to lie beyond a bound
enters by its conditional mean and variance under the fitted model (Tobin, Econometrica 26 (1958) 24, by
expectation–maximisation); what it leaves unknown is taken from the information (Louis, JRSS-B 44 (1982) 226) and from
the degrees of freedom.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats
from scipy.special import log_ndtr, stdtrit

Bound = Literal["value", "at most", "at least"]

_ROUNDS = 100
_TOLERANCE = 1e-7
_SMALL = 1e-12
_SIGNS = {"value": 0, "at most": -1, "at least": 1}


@dataclass(frozen=True)
class Fit:
    """One of the two fits.

    beta, covariance  (coefficient,), (coefficient, coefficient)
    tau2              variance between units
    known             (unit,) in [0, 1]: share of what a value would tell that a unit tells; 1 unless it is censored
    """

    beta: np.ndarray
    covariance: np.ndarray
    tau2: float
    known: np.ndarray

    def error(self, contrast: np.ndarray) -> float:
        """Standard error of contrast · β."""
        if not np.isfinite(self.covariance).all():
            return float("inf")
        return float(np.sqrt(max(contrast @ self.covariance @ contrast, 0.0)))


@dataclass(frozen=True)
class Pooled:
    """A meta-regression: what a contrast of its coefficients is, by the fit whose interval is wider.

    i2  share of the variance that is between units, in [0, 1], by the weighted fit
    """

    weighted: Fit
    equal: Fit
    i2: float
    k: int

    @property
    def freedom(self) -> float:
        """Degrees of freedom: what the units tell less the coefficients, the fewer of the two fits'."""
        return min(float(fit.known.sum()) - len(fit.beta) for fit in (self.weighted, self.equal))

    def fit(self, contrast: np.ndarray) -> Fit:
        """The fit whose interval is wider; the weighted one where they are equally wide."""
        return max(self.weighted, self.equal, key=lambda fit: fit.error(contrast))

    def interval(self, contrast: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
        """(estimate, low, high) of contrast · β; infinite ends where no degree of freedom is left."""
        fit = self.fit(contrast)
        estimate, half = float(contrast @ fit.beta), self._quantile(self.freedom, level) * fit.error(contrast)
        return estimate, estimate - half, estimate + half

    def error(self, contrast: np.ndarray) -> float:
        """Standard error of contrast · β."""
        return self.fit(contrast).error(contrast)

    def prediction(self, contrast: np.ndarray, level: float = 0.95, new: int = 1) -> tuple[float, float] | None:
        """Where the value of a new cohort lies (`new` = 2: the difference of two new ones); None below k = 3."""
        fit, freedom = self.fit(contrast), self.freedom - 1
        if self.k < 3 or freedom < 1:
            return None
        spread = np.sqrt(new * fit.tau2 + fit.error(contrast) ** 2)
        estimate, half = float(contrast @ fit.beta), self._quantile(freedom, level) * spread
        return float(estimate - half), float(estimate + half)

    def p(self, contrast: np.ndarray) -> float | None:
        """Two-sided p of contrast · β = 0."""
        fit = self.fit(contrast)
        error = fit.error(contrast)
        if self.freedom < 1 or error == 0 or not np.isfinite(error):
            return None
        return float(2 * stats.t.sf(abs(float(contrast @ fit.beta)) / error, self.freedom))

    @staticmethod
    def _quantile(freedom: float, level: float) -> float:
        return float(stdtrit(freedom, 0.5 + level / 2)) if freedom >= 1 else float("inf")


def pool(
    values: np.ndarray,
    variances: np.ndarray,
    design: np.ndarray | None = None,
    bounds: list[Bound] | None = None,
    units: np.ndarray | None = None,
) -> Pooled:
    """Pool `values` (value,) with sampling `variances` (unit,) ≥ 0 on `design` (unit, coefficient), None = one mean.

    bounds  (value,): "at most" / "at least" = the value is known only to lie below / above. The variance of a unit
            with such a value is not used (the mean of the others' is).
    units   (value,) int, rising from 0: the unit of each value, which is the mean of its values; None = one each
    """
    found = _Data.of(values, variances, design, bounds, units)
    if found is None:
        k = len(variances)
        x = np.ones((k, 1)) if design is None else np.asarray(design, np.float64)
        nothing = _without_freedom(np.asarray(values, np.float64), x[_places(values, units)], k)
        return Pooled(nothing, nothing, 0.0, k)
    weighted, equal = (_fitted(found, equally) for equally in (False, True))
    return Pooled(weighted, equal, _i2(weighted.tau2, found.v, found.x), len(found.v))


def _places(values: np.ndarray, units: np.ndarray | None) -> np.ndarray:
    return np.arange(len(values)) if units is None else np.asarray(units, np.int64)


@dataclass(frozen=True)
class _Data:
    """What is pooled: y, sign, unit (value,); v (unit,), x (unit, coefficient); open (unit,): holds a bounded value."""

    y: np.ndarray
    sign: np.ndarray
    unit: np.ndarray
    v: np.ndarray
    x: np.ndarray
    open: np.ndarray

    @classmethod
    def of(
        cls, values: np.ndarray, variances: np.ndarray, design: np.ndarray | None, bounds: list[Bound] | None,
        units: np.ndarray | None,
    ) -> _Data | None:  # fmt: skip
        """None where the units without a bounded value are too few for an interval."""
        y, v = np.asarray(values, np.float64), np.asarray(variances, np.float64).copy()
        x = np.ones((len(v), 1)) if design is None else np.asarray(design, np.float64)
        sign = np.array([_SIGNS[b] for b in bounds or ["value"] * len(y)], np.int64)
        unit = _places(y, units)
        open_ = np.bincount(unit, sign != 0, len(v)) > 0
        if (~open_).sum() <= x.shape[1] or np.linalg.matrix_rank(x[~open_]) < x.shape[1]:
            return None
        v[open_] = v[~open_].mean()
        return cls(y, sign, unit, v, x, open_)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """(unit,) means of (value,) numbers."""
        return np.bincount(self.unit, values, len(self.v)) / np.bincount(self.unit, minlength=len(self.v))


def _fitted(data: _Data, equally: bool) -> Fit:
    """The fit with equal weights, or with those of the variances."""
    v, x, inside = data.v, data.x, ~data.open
    tau2_of = _hedges_olkin if equally else _paule_mandel

    def beta_of(y: np.ndarray, tau2: float, of: np.ndarray) -> np.ndarray:
        return _weighted(y[of], np.ones(of.sum()) if equally else v[of] + tau2, x[of])

    y, spread = data.mean(data.y), np.zeros(len(v))
    tau2 = tau2_of(y[inside], v[inside], x[inside], spread[inside])
    beta, every = beta_of(y, tau2, inside), np.ones(len(v), bool)
    limited = data.sign != 0
    for _ in range(_ROUNDS if limited.any() else 0):
        before = beta
        of_value, left = data.y.copy(), np.zeros(len(data.y))
        at = data.unit[limited]
        of_value[limited], left[limited] = _beyond((x @ beta)[at], (v + tau2)[at], data.y[limited], data.sign[limited])
        # Values of one unit are taken as wholly dependent: what is unknown of their mean is the mean of it.
        y, spread = data.mean(of_value), data.mean(left)
        tau2 = tau2_of(y, v, x, spread)
        beta = beta_of(y, tau2, every)
        if float(np.abs(beta - before).max()) < _TOLERANCE:
            break
    total = np.maximum(v + tau2, _SMALL)
    known = np.clip(1 - spread / total, 0, 1)
    if equally:
        bread = np.linalg.inv(x.T @ (x * known[:, None]))
        covariance = bread @ (x.T @ (x * (known * total)[:, None])) @ bread
    else:
        residual = (y - x @ beta) ** 2 + spread
        factor = max(1.0, float((residual / total).sum()) / (len(y) - x.shape[1]))
        covariance = factor * np.linalg.inv(x.T @ (x * (known / total)[:, None]))
    return Fit(beta, covariance, tau2, known)


def _without_freedom(y: np.ndarray, x: np.ndarray, k: int) -> Fit:
    """Too few values for an interval: the estimate alone (not a number where the values cannot give one)."""
    beta = np.linalg.lstsq(x, y, rcond=None)[0] if len(y) else np.full(x.shape[1], np.nan)
    return Fit(beta, np.full((x.shape[1],) * 2, np.inf), 0.0, np.zeros(k))


def _weighted(y: np.ndarray, variance: np.ndarray, x: np.ndarray) -> np.ndarray:
    w = 1 / np.maximum(variance, _SMALL)
    return np.asarray(np.linalg.solve(x.T @ (x * w[:, None]), x.T @ (w * y)))


def _paule_mandel(y: np.ndarray, v: np.ndarray, x: np.ndarray, spread: np.ndarray) -> float:
    """τ² at which the generalised Q equals its k − p degrees of freedom; 0 where it is smaller at τ² = 0."""
    freedom = len(y) - x.shape[1]

    def q(tau2: float) -> float:
        variance = np.maximum(v + tau2, _SMALL)
        return float((((y - x @ _weighted(y, variance, x)) ** 2 + spread) / variance).sum())

    if q(0.0) <= freedom:
        return 0.0
    low, high = 0.0, 1e-6
    while q(high) > freedom:
        low, high = high, high * 4
    while high - low > 1e-10 + 1e-8 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if q(middle) > freedom else (low, middle)
    return high


def _hedges_olkin(y: np.ndarray, v: np.ndarray, x: np.ndarray, spread: np.ndarray) -> float:
    """τ² by which the residual sum of squares of least squares exceeds what sampling alone makes; at least 0."""
    inverse = np.linalg.inv(x.T @ x)
    leverage = ((x @ inverse) * x).sum(axis=1)
    squares = float(((y - x @ (inverse @ (x.T @ y))) ** 2 + spread).sum())
    return max(0.0, (squares - float((v * (1 - leverage)).sum())) / (len(y) - x.shape[1]))


def _beyond(
    mean: np.ndarray, variance: np.ndarray, limit: np.ndarray, sign: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(mean, variance) of a normal value known to lie above (sign 1) or below (−1) its limit."""
    sd = np.sqrt(np.maximum(variance, _SMALL))
    a = sign * (limit - mean) / sd
    hazard = np.exp(-(a**2) / 2 - np.log(2 * np.pi) / 2 - log_ndtr(-a))
    return mean + sign * sd * hazard, np.maximum(variance * (1 + a * hazard - hazard**2), 0.0)


def _i2(tau2: float, v: np.ndarray, x: np.ndarray) -> float:
    """Share of the variance that is between cohorts (Higgins & Thompson, Statistics in Medicine 21 (2002) 1539)."""
    w = 1 / np.maximum(v, _SMALL)
    weighted = x * w[:, None]
    trace = float(w.sum() - np.trace(np.linalg.solve(x.T @ weighted, weighted.T @ weighted)))
    if trace <= 0 or tau2 == 0:
        return 0.0
    typical = (len(v) - x.shape[1]) / trace
    return tau2 / (tau2 + typical)
