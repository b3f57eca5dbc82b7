"""One effect from several cohorts: random-effects meta-regression, cohorts outside the grid as censored values.

    y_i = x_i · β + u_i + e_i          u_i ~ N(0, τ²) between cohorts, e_i ~ N(0, v_i) within

τ² by Paule & Mandel (J. Res. NBS 87 (1982) 377), intervals by Hartung & Knapp (Statistics in Medicine 20 (2001) 3875;
for regression: Knapp & Hartung, ibid. 22 (2003) 2693) with their factor never below 1 (Röver et al., BMC Med. Res.
Methodol. 15 (2015) 99) and Student's t with k − p degrees of freedom. Prediction interval: Higgins, Thompson &
Spiegelhalter, JRSS-A 172 (2009) 137. A value known only to lie beyond a bound enters by its conditional mean and
variance under the fitted model (Tobin, Econometrica 26 (1958) 24, by expectation–maximisation); what it leaves
unknown is taken from the information (Louis, JRSS-B 44 (1982) 226) and from the degrees of freedom.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats
from scipy.special import log_ndtr

Bound = Literal["value", "at most", "at least"]

_ROUNDS = 100
_TOLERANCE = 1e-7
_SMALL = 1e-12


@dataclass(frozen=True)
class Pooled:
    """Coefficients of a meta-regression.

    beta, covariance  (coefficient,), (coefficient, coefficient); Hartung–Knapp's, t with `freedom`
    tau2              variance between units; i2 its share of the total, in [0, 1]
    """

    beta: np.ndarray
    covariance: np.ndarray
    freedom: float
    tau2: float
    i2: float
    k: int

    def interval(self, contrast: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
        """(estimate, low, high) of contrast · β; infinite ends where no degree of freedom is left."""
        estimate, half = float(contrast @ self.beta), self._quantile(self.freedom, level) * self.error(contrast)
        return estimate, estimate - half, estimate + half

    def error(self, contrast: np.ndarray) -> float:
        """Standard error of contrast · β."""
        if not np.isfinite(self.covariance).all():
            return float("inf")
        return float(np.sqrt(max(contrast @ self.covariance @ contrast, 0.0)))

    def prediction(self, contrast: np.ndarray, level: float = 0.95, new: int = 1) -> tuple[float, float] | None:
        """Where the value of a new cohort lies (`new` = 2: the difference of two new ones); None below k = 3."""
        freedom = self.freedom - 1
        if self.k < 3 or freedom < 1:
            return None
        spread = np.sqrt(new * self.tau2 + self.error(contrast) ** 2)
        estimate, half = float(contrast @ self.beta), self._quantile(freedom, level) * spread
        return float(estimate - half), float(estimate + half)

    def p(self, contrast: np.ndarray) -> float | None:
        """Two-sided p of contrast · β = 0."""
        error = self.error(contrast)
        if self.freedom < 1 or error == 0 or not np.isfinite(error):
            return None
        return float(2 * stats.t.sf(abs(float(contrast @ self.beta)) / error, self.freedom))

    @staticmethod
    def _quantile(freedom: float, level: float) -> float:
        return float(stats.t.ppf(0.5 + level / 2, freedom)) if freedom >= 1 else float("inf")


def pool(
    values: np.ndarray, variances: np.ndarray, design: np.ndarray | None = None, bounds: list[Bound] | None = None
) -> Pooled:
    """Pool `values` (unit,) with sampling `variances` (unit,) ≥ 0 on `design` (unit, coefficient), None = one mean.

    `bounds` (unit,): "at most" / "at least" = the value is known only to lie below / above; its variance is not used
    (the mean of the others' is).
    """
    y, v = np.asarray(values, np.float64).copy(), np.asarray(variances, np.float64).copy()
    x = np.ones((len(y), 1)) if design is None else np.asarray(design, np.float64)
    signs = np.array([{"value": 0, "at most": -1, "at least": 1}[b] for b in bounds or ["value"] * len(y)])
    censored = signs != 0
    if (~censored).sum() <= x.shape[1] or np.linalg.matrix_rank(x[~censored]) < x.shape[1]:
        return _without_freedom(y, x)
    v[censored] = v[~censored].mean()
    limit, spread = y.copy(), np.zeros(len(y))
    tau2 = _paule_mandel(y[~censored], v[~censored], x[~censored], np.zeros((~censored).sum()))
    beta = _weighted(y[~censored], v[~censored] + tau2, x[~censored])
    for _ in range(_ROUNDS if censored.any() else 0):
        before = beta
        y[censored], spread[censored] = _beyond(
            (x @ beta)[censored], (v + tau2)[censored], limit[censored], signs[censored]
        )
        tau2 = _paule_mandel(y, v, x, spread)
        beta = _weighted(y, v + tau2, x)
        if float(np.abs(beta - before).max()) < _TOLERANCE:
            break
    weights = 1 / (v + tau2)
    known = np.clip(1 - spread * weights, 0, 1)
    freedom = float(known.sum()) - x.shape[1]
    residual = (y - x @ beta) ** 2 + spread
    factor = max(1.0, float((weights * residual).sum()) / (len(y) - x.shape[1]))
    covariance = factor * np.linalg.inv(x.T @ (x * (weights * known)[:, None]))
    return Pooled(beta, covariance, freedom, tau2, _i2(tau2, v, x), len(y))


def _without_freedom(y: np.ndarray, x: np.ndarray) -> Pooled:
    """Too few values for an interval: the estimate alone (not a number where the values cannot give one)."""
    beta = np.linalg.lstsq(x, y, rcond=None)[0] if len(y) else np.full(x.shape[1], np.nan)
    return Pooled(beta, np.full((x.shape[1],) * 2, np.inf), 0.0, 0.0, 0.0, len(y))


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


def _beyond(
    mean: np.ndarray, variance: np.ndarray, limit: np.ndarray, sign: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(mean, variance) of a normal value known to lie above (sign 1) or below (−1) its limit."""
    sd = np.sqrt(np.maximum(variance, _SMALL))
    a = sign * (limit - mean) / sd
    hazard = np.exp(stats.norm.logpdf(a) - log_ndtr(-a))
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
