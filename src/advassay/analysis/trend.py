"""Does success rise with a dose? Logistic (or probit) regression on ln dose with a patient-clustered covariance.

Every image is judged at every dose, so the fit needs only the counts per dose, and the covariance only the counts
per patient and dose: two small matrix products whatever the number of images. Same numbers as statsmodels'
GLM(Binomial).fit(cov_type="cluster") (Liang & Zeger, Biometrika 73 (1986), independence working correlation).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats
from scipy.special import expit, ndtr

from advassay.analysis.intervals import Counts

Link = Literal["logit", "probit"]


@dataclass(frozen=True)
class Trend:
    """link(rate) = intercept + slope · ln(dose)."""

    intercept: float
    slope: float
    covariance: np.ndarray
    """(2, 2) of intercept and slope, clustered by patient, with the factor G/(G−1) · (n−1)/(n−2)."""
    patients: int
    n: int
    """Images × doses."""
    converged: bool
    """False where the data are separated (no finite slope fits)."""

    @property
    def standard_error(self) -> float:
        """0 where no image changes over the doses: then the data say nothing about its precision."""
        variance = float(self.covariance[1, 1])
        return float(np.sqrt(variance)) if np.isnan(variance) or variance > 1e-12 else 0.0

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Of the slope, by Student's t with patients − 1 degrees of freedom."""
        half = stats.t.ppf(0.5 + level / 2, max(self.patients - 1, 1)) * self.standard_error
        return self.slope - half, self.slope + half

    @property
    def p(self) -> float:
        """Two-sided, slope = 0."""
        if not self.converged:
            return float("nan")
        if self.standard_error == 0:
            return 1.0
        return float(2 * stats.t.sf(abs(self.slope) / self.standard_error, max(self.patients - 1, 1)))


def fit_trend(dose: np.ndarray, points: Counts, iterations: int = 50, link: Link = "logit") -> Trend:
    """Fit by Fisher scoring. `dose` (point,) > 0; `points` counts per dose and patient."""
    x = np.column_stack([np.ones(len(dose)), np.log(dose)])
    n, events = points.n, points.total
    beta, converged = np.zeros(2), False
    for _ in range(iterations):
        mu, slope, weight = _mean(x @ beta, link)
        information = (x * (n * slope * weight)[:, None]).T @ x
        if np.linalg.cond(information) > 1e12:
            break
        step = np.linalg.solve(information, x.T @ ((events - n * mu) * weight))
        beta = beta + step
        if np.abs(step).max() < 1e-10:
            converged = bool(np.abs(beta).max() < 50)
            break
    covariance = _clustered(x, beta, points, link) if converged else np.full((2, 2), np.nan)
    groups = int((points.images.sum(0) > 0).sum())
    return Trend(float(beta[0]), float(beta[1]), covariance, groups, int(n.sum()), converged)


def _mean(eta: np.ndarray, link: Link) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rate μ, dμ/dη, dμ/dη / (μ(1 − μ))) at the linear predictor; the last is 1 for the logit."""
    if link == "logit":
        mu = expit(eta)
        return mu, mu * (1 - mu), np.ones_like(mu)
    slope, spread = stats.norm.pdf(eta), ndtr(eta) * ndtr(-eta)
    return ndtr(eta), slope, np.divide(slope, spread, out=np.zeros_like(slope), where=spread > 0)


def _clustered(x: np.ndarray, beta: np.ndarray, points: Counts, link: Link) -> np.ndarray:
    mu, slope, weight = _mean(x @ beta, link)
    bread = np.linalg.inv((x * (points.n * slope * weight)[:, None]).T @ x)
    scores = (points.events - points.images * mu[:, None]).T @ (x * weight[:, None])  # (patient, 2)
    groups, n = int((points.images.sum(0) > 0).sum()), points.n.sum()
    correction = groups / max(groups - 1, 1) * (n - 1) / max(n - 2, 1)
    return np.asarray(correction * bread @ (scores.T @ scores) @ bread)
