"""The log-logistic dose–response curve with an upper asymptote and asymmetry, by interval-censored likelihood.

    F(ε) = A · (1 + exp(−(ln ε − μ − x·β) / s))^(−f)         0 < A ≤ 1: the share that falls at some ε at all

An image's threshold is only known to lie between two doses, so the likelihood is multinomial over the intervals
(Finkelstein, Biometrics 42 (1986) 845). Normal priors on μ, ln s, logit A, ln f and β keep the estimate finite where
the data are separated and the curve symmetric (f = 1) unless the data say otherwise; they weigh less than a few
images. Without f the ε50 of skewed thresholds is 5% off whatever the number of images. Fitted by Fisher scoring. The
curve is drc's LL.5 with lower limit 0, d = A, e = exp(μ) and b = −1/s (Ritz et al., PLoS ONE 10 (2015) e0146021);
Wichmann & Hill, Perception & Psychophysics 63 (2001) 1293, call 1 − A the lapse rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import expit, log_expit

from advassay.analysis.dose_response.thresholds import Thresholds

PRIOR_LOG_SCALE = (np.log(0.5), 1.0)
PRIOR_LOGIT_SHARE = (3.0, 2.0)
"""Of the upper asymptote: 95 of 100 images fall at some amplitude, give or take 2 logits."""
PRIOR_LOG_ASYMMETRY = (0.0, 0.7)
PRIOR_LOCATION_SD = 5.0
"""Around the middle of the grid, in ln ε."""
PRIOR_EFFECT_SD = 2.0
"""Of a covariate's shift of ln ε: a factor of 7.4."""
_ITERATIONS = 300
_SCORING_STEPS = 2
"""Iterations with expected information before what the steps show is believed."""
_TOLERANCE = 1e-11
_SMALLEST = 1e-12


@dataclass(frozen=True)
class LogLogistic:
    """A fitted curve.

    theta       (parameter,): μ, ln s, logit A, ln f, β …
    covariance  (parameter, parameter): the larger of the model's and the patient-clustered one, by parameter
    probability (group, dose + 1): fitted probability of each interval, by covariate pattern
    """

    doses: np.ndarray
    theta: np.ndarray
    model_covariance: np.ndarray
    robust_covariance: np.ndarray
    log_likelihood: float
    probability: np.ndarray
    freedom: float
    """Effective number of parameters: the priors' share taken off, between 0 and their number."""
    influence: np.ndarray
    """(image, parameter): what each image adds to theta; sums to about 0."""

    @property
    def scale(self) -> float:
        """s, in ln ε."""
        return float(np.exp(self.theta[1]))

    @property
    def ever(self) -> float:
        """A: share of images misclassified at some amplitude, in (0, 1)."""
        return float(expit(self.theta[2]))

    @property
    def asymmetry(self) -> float:
        """f: 1 = symmetric in ln ε."""
        return float(np.exp(self.theta[3]))

    def share(self, epsilon: np.ndarray, effect: float = 0.0) -> np.ndarray:
        """Fitted share misclassified at `epsilon` (> 0)."""
        z = (np.log(epsilon) - self.theta[0] - effect) / self.scale
        return np.asarray(self.ever * expit(z) ** self.asymmetry)

    def variance(self, gradient: np.ndarray) -> float:
        """Variance of a function of theta with this gradient (delta method): the larger of model and clustered."""
        return float(max(gradient @ self.model_covariance @ gradient, gradient @ self.robust_covariance @ gradient))

    def log_epsilon(self, share: float = 0.5) -> tuple[float, np.ndarray]:
        """(ln of the ε at which `share` of all images are misclassified, its gradient); infinite beyond the asymptote.

        Absolute: images that never fall count among all.
        """
        gradient = np.zeros(len(self.theta))
        if self.ever <= share:
            return float("inf"), gradient
        log_ratio = float(np.log(share / self.ever)) / self.asymmetry  # ln of the logistic function at the wanted ε
        rest = -float(np.expm1(log_ratio))
        z = log_ratio - float(np.log(rest))
        gradient[0] = 1.0
        gradient[1] = self.scale * z
        gradient[2] = -self.scale * (1 - self.ever) / (self.asymmetry * rest)
        gradient[3] = -self.scale * log_ratio / rest
        return float(self.theta[0] + self.scale * z), gradient


def fit(data: Thresholds, covariates: np.ndarray | None = None) -> LogLogistic:
    """Fit the curve; `covariates` (image, q) shift ln ε. Always finite; wide where the data say little."""
    x, group = _patterns(data, covariates)
    log_doses = np.log(data.doses)
    counts = np.zeros((len(x), len(log_doses) + 1))
    np.add.at(counts, (group, data.category), 1.0)
    mean, precision = _prior(log_doses, x.shape[1])
    found = _maximum(_start(data, log_doses, x.shape[1]), log_doses, x, counts, mean, precision)
    information = _information(found.p, found.slopes, counts)
    bread = np.linalg.inv(information + np.diag(precision))
    scores = (found.slopes / found.p)[:, group, data.category].T
    influence = scores @ bread
    return LogLogistic(
        doses=data.doses,
        theta=found.theta,
        model_covariance=bread,
        robust_covariance=_clustered(influence, data.patients),
        log_likelihood=float((counts * np.log(found.p)).sum()),
        probability=found.p,
        freedom=float(np.trace(bread @ information)),
        influence=influence,
    )


class _Point(NamedTuple):
    """The penalised log-likelihood at one theta."""

    theta: np.ndarray
    value: float
    score: np.ndarray
    p: np.ndarray
    slopes: np.ndarray


def _maximum(
    theta: np.ndarray, log_doses: np.ndarray, x: np.ndarray, counts: np.ndarray, mean: np.ndarray, precision: np.ndarray
) -> _Point:
    """The penalised likelihood's maximum from `theta` on: Fisher scoring, then BFGS updates of its inverse.

    Scoring alone needs some 40 steps where the observed information differs from the expected (few images, a share
    near its bound). What ends the search is always the gain that expected information promises.
    """

    def at(theta: np.ndarray) -> _Point:
        p, slopes = _probabilities(theta, log_doses, x)
        value = float((counts * np.log(p)).sum() - 0.5 * (precision * (theta - mean) ** 2).sum())
        score = slopes.reshape(len(theta), -1) @ (counts / p).reshape(-1) - precision * (theta - mean)
        return _Point(theta, value, score, p, slopes)

    now = at(theta)
    inverse, is_expected = np.zeros(0), False
    for iteration in range(_ITERATIONS):
        if iteration <= _SCORING_STEPS or not inverse.size:
            inverse = np.linalg.inv(_information(now.p, now.slopes, counts) + np.diag(precision))
            is_expected = True
        step = inverse @ now.score
        if float(now.score @ step) < _TOLERANCE:
            if is_expected:
                break
            inverse = np.zeros(0)
            continue
        step *= min(1.0, 2.0 / float(np.abs(step).max()))
        before, now = now, at(now.theta + step)
        for _ in range(30):
            if now.value >= before.value - 1e-12:
                break
            step = step / 2
            now = at(before.theta + step)
        inverse, is_expected = _updated_inverse(inverse, step, before.score - now.score), False
    return now


def _updated_inverse(inverse: np.ndarray, step: np.ndarray, change: np.ndarray) -> np.ndarray:
    """BFGS update (Nocedal & Wright, Numerical Optimization, 2006, eq. 6.17); empty where the score's change along the
    step is not that of a concave function: expected information takes over.
    """
    curvature = float(step @ change)
    if curvature <= 1e-10 * float(np.sqrt((step @ step) * (change @ change))):
        return np.zeros(0)
    product = inverse @ change
    both = np.outer(product, step)
    return np.asarray(
        inverse + (1 + float(change @ product) / curvature) / curvature * np.outer(step, step)
        - (both + both.T) / curvature
    )  # fmt: skip


def expected_covariance(doses: np.ndarray, scale: float, images: float) -> tuple[np.ndarray, np.ndarray, float]:
    """For planning: (covariance of theta, gradient of ln ε50, gap in ln ε around it) of a curve whose ε50 lies in the
    middle of the grid, for this many independent images.
    """
    logs = np.log(doses)
    theta = np.array([logs[[0, -1]].mean(), np.log(scale), PRIOR_LOGIT_SHARE[0], 0.0])
    x = np.zeros((1, 0))
    p, slopes = _probabilities(theta, logs, x)
    _, precision = _prior(logs, 0)
    covariance = np.linalg.inv(_information(p, slopes, images * p) + np.diag(precision))
    curve = LogLogistic(doses, theta, covariance, covariance, 0.0, p, 0.0, np.zeros((0, len(theta))))
    value, gradient = curve.log_epsilon()
    at = int(np.clip(np.searchsorted(logs, value), 1, max(len(logs) - 1, 1)))
    return covariance, gradient, float(logs[at] - logs[at - 1]) if len(logs) > 1 else 1.0


def _patterns(data: Thresholds, covariates: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Distinct covariate rows (group, q) and each image's group."""
    if covariates is None:
        return np.zeros((1, 0)), np.zeros(data.images, np.int64)
    rows, group = np.unique(np.asarray(covariates, np.float64), axis=0, return_inverse=True)
    return rows, group.reshape(-1)


def _prior(log_doses: np.ndarray, q: int) -> tuple[np.ndarray, np.ndarray]:
    middle = float(log_doses[[0, -1]].mean())
    shape = (PRIOR_LOG_SCALE, PRIOR_LOGIT_SHARE, PRIOR_LOG_ASYMMETRY)
    mean = np.r_[middle, [centre for centre, _ in shape], np.zeros(q)]
    deviation = np.r_[PRIOR_LOCATION_SD, [sd for _, sd in shape], np.full(q, PRIOR_EFFECT_SD)]
    return mean, deviation**-2.0


def _start(data: Thresholds, log_doses: np.ndarray, q: int) -> np.ndarray:
    """Asymptote from the last share, location where half of it is reached."""
    if not data.images:
        return _prior(log_doses, q)[0]
    share = data.share
    highest = float(np.clip(share[-1], 0.02, 0.98))
    reached = np.flatnonzero(share >= highest / 2)
    location = log_doses[reached[0]] if reached.size else log_doses[-1]
    return np.r_[location, PRIOR_LOG_SCALE[0], np.log(highest / (1 - highest)), 0.0, np.zeros(q)]


def _probabilities(theta: np.ndarray, log_doses: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(group, dose + 1) probabilities of the intervals, never 0, and (parameter, group, dose + 1) their gradients."""
    scale, ever, asymmetry = float(np.exp(theta[1])), float(expit(theta[2])), float(np.exp(theta[3]))
    z = (log_doses - (theta[0] + x @ theta[4:])[:, None]) / scale
    log_logistic = log_expit(z)
    below = np.exp(asymmetry * log_logistic)
    # Shares at the doses between "no dose" and "any dose"; an interval is the difference of two neighbours.
    cumulative = np.zeros((len(theta) + 1, len(x), len(log_doses) + 2))
    cumulative[0, :, -1] = 1.0
    inner = cumulative[:, :, 1:-1]
    share = inner[0]
    np.multiply(below, ever, out=share)
    density = asymmetry * share * expit(-z)
    inner[1] = density / -scale
    inner[2] = -density * z
    inner[3] = (1 - ever) * share
    inner[4] = asymmetry * share * log_logistic
    for column in range(x.shape[1]):
        inner[5 + column] = inner[1] * x[:, column, None]
    found = cumulative[:, :, 1:] - cumulative[:, :, :-1]
    return np.maximum(found[0], _SMALLEST), found[1:]


def _information(p: np.ndarray, slopes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Expected information: each group's images times that of one."""
    weighted = slopes * (counts.sum(1)[:, None] / p)
    return np.asarray(weighted.reshape(len(slopes), -1) @ slopes.reshape(len(slopes), -1).T)


def patient_sums(influence: np.ndarray, patients: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(patient of `known`, column): sums of (image, column) influences, whose squares add up to a variance.

    Each is divided by √(1 − its share of the images): a patient pulls the estimate towards itself, so its own sum is
    too small (Bell & McCaffrey, Survey Methodology 28 (2002) 169, whose correction this is for a mean; the factor
    G / (G − 1) where all G patients have as many images). 0 for a patient who has all of them: nothing is known then.
    """
    codes = np.searchsorted(np.unique(known), patients)
    groups = len(np.unique(known))
    rest = 1 - np.bincount(codes, minlength=groups) / max(len(codes), 1)
    scale = np.divide(1.0, np.sqrt(rest), out=np.zeros(groups), where=rest > 0)
    return np.stack([np.bincount(codes, column, groups) * scale for column in influence.T], axis=1)


def _clustered(influence: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Covariance from the sums over patients (Liang & Zeger, Biometrika 73 (1986) 13)."""
    sums = patient_sums(influence, patients, patients)
    return np.asarray(sums.T @ sums)
