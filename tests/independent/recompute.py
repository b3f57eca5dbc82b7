"""The numbers of a report, computed anew from a store's Parquet and JSON files.

Written from src/advassay/records/FORMAT.md and docs/explanation/statistics.md alone: NumPy and SciPy, no line of the
package. Where this file and the package differ, one of them does not do what those two pages say.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml
from scipy.optimize import brentq, minimize
from scipy.stats import chi2, norm, t

# ---------------------------------------------------------------------------------------------- reading (FORMAT.md)


@dataclass(frozen=True)
class Run:
    """One run: header, images in the order of images.parquet, logits by step size and ε (restart 0)."""

    header: dict[str, Any]
    labels: np.ndarray
    patients: np.ndarray
    contrast: np.ndarray
    logits: dict[tuple[str, float], np.ndarray]
    """(image, K + 1, class) of every grid point."""

    def epsilons(self, step_size: str) -> list[float]:
        """Amplitudes attacked with this step size, in increasing order."""
        return sorted(e for s, e in self.logits if s == step_size and e > 0)


def read_runs(store: Path) -> list[Run]:
    """Return the runs under STORE/records. Runs under STORE/superseded are not among them."""
    return [read_run(folder) for folder in sorted((store / "records").iterdir()) if (folder / "header.json").exists()]


def read_run(folder: Path) -> Run:
    """Return one run. Of a key that occurs twice the first shard by name counts; restart 0 is the declared run."""
    header = json.loads((folder / "header.json").read_text())
    images = pq.read_table(folder / "images.parquet").to_pydict()
    place = {image: i for i, image in enumerate(images["image_id"])}
    shape = (len(place), header["steps"] + 1, len(header["class_names"]))
    points: dict[tuple[str, float], np.ndarray] = {}
    seen: set[tuple[str, float, int]] = set()
    for shard in sorted(p for p in (folder / "shards").glob("*.parquet") if not p.name.startswith(".")):
        table = pq.read_table(shard, columns=["image_id", "step_size", "epsilon", "restart", "logits"])
        flat = table["logits"].combine_chunks()
        logits = np.asarray(flat.flatten().flatten()).reshape(len(table), *shape[1:])
        columns = (table[name].to_pylist() for name in ("image_id", "step_size", "epsilon", "restart"))
        for row, (image, step_size, epsilon, restart) in enumerate(zip(*columns, strict=True)):
            key = (step_size, epsilon, place[image])
            if restart != 0 or key in seen:
                continue
            seen.add(key)
            points.setdefault((step_size, epsilon), np.full(shape, np.nan, np.float32))[place[image]] = logits[row]
    patients = [p if known else i for i, p, known in zip(images["image_id"], images["patient_id"], images["has_patient"], strict=True)]
    return Run(header, np.array(images["label"]), np.array(patients), np.array(images["clean_contrast"], float), points)


def decisions(logits: np.ndarray) -> np.ndarray:
    """Return the predicted class: the lowest index wins a tie, −1 where any logit is NaN."""
    return np.where(np.isnan(logits).any(-1), -1, np.nan_to_num(logits, nan=-np.inf).argmax(-1))


@dataclass(frozen=True)
class Outcomes:
    """The attackable images of a run at one step size, and at which iterates they were misclassified."""

    run: Run
    step_size: str
    epsilons: np.ndarray
    wrong: np.ndarray
    """(ε, iterate, image) bool: decided, and not for the label."""
    decided: np.ndarray
    """(ε, iterate, image) bool: no logit is NaN."""
    patients: np.ndarray
    confidence: np.ndarray
    contrast: np.ndarray
    margin_logits: np.ndarray


def outcomes(run: Run, step_size: str) -> Outcomes:
    """Return what happened to the images that the network first classified correctly."""
    epsilons = run.epsilons(step_size)
    logits = np.stack([run.logits[step_size, e] for e in epsilons])
    clean = logits[0, :, 0].astype(float)
    kept = decisions(clean) == run.labels
    predicted = np.moveaxis(decisions(logits[:, kept]), 1, 2)
    shifted = np.exp(clean[kept] - clean[kept].max(1, keepdims=True))
    confidence = (shifted / shifted.sum(1, keepdims=True)).max(1)
    return Outcomes(
        run, step_size, np.array(epsilons), (predicted >= 0) & (predicted != run.labels[kept]), predicted >= 0,
        run.patients[kept], confidence, run.contrast[kept], clean[kept],
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------ rates


def wilson(events: float, n: float, z: float) -> tuple[float, float]:
    """Return Wilson's bounds of a share."""
    share = events / n
    middle, half = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


# ------------------------------------------------------------------------------------------------ the curve


def share_fallen(theta: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return F at x = ln ε for θ = (μ, ln s, logit A, ln f)."""
    mu, ln_s, logit_a, ln_f = theta[:4]
    log_base = -np.logaddexp(0, -(x - mu) / np.exp(ln_s))
    return np.exp(np.exp(ln_f) * log_base) / (1 + np.exp(-logit_a))


def cell_shares(theta: np.ndarray, x: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the probability of each interval, (group, ε + 1). θ[4:] shifts ln ε of groups 1, 2, …"""
    shifts = groups @ theta[4:]
    below = np.stack([share_fallen(theta, x - shift) for shift in shifts])
    edges = np.concatenate([np.zeros((len(below), 1)), below, np.ones((len(below), 1))], axis=1)
    return np.maximum(np.diff(edges, axis=1), 1e-300)


def gradient_of(function: Callable[[np.ndarray], Any], theta: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Return central differences; the parameter is the first axis."""
    moves = np.eye(len(theta)) * step
    return np.stack([(np.asarray(function(theta + m)) - np.asarray(function(theta - m))) / (2 * step) for m in moves])


@dataclass(frozen=True)
class Curve:
    """A fitted dose-response curve, with what its covariance needs."""

    theta: np.ndarray
    x: np.ndarray
    inverse: np.ndarray
    """Inverse of expected information plus prior precision."""
    influences: np.ndarray
    """(patient, parameter): sums of the images' influences."""
    information: np.ndarray
    shares: np.ndarray
    """Observed share of images at or below each amplitude."""
    cells: np.ndarray
    counts: np.ndarray

    def variance(self, derivative: np.ndarray) -> float:
        """Return the variance of a function of θ: the larger of the model's and the patient-clustered one."""
        patients = len(self.influences)
        clustered = ((self.influences @ derivative) ** 2).sum() * patients / (patients - 1)
        return float(max(derivative @ self.inverse @ derivative, clustered))


def fit_curve(x: np.ndarray, cell: np.ndarray, patients: np.ndarray, design: np.ndarray | None = None) -> Curve:
    """Fit the log-logistic curve with asymptote and asymmetry to interval-censored thresholds, with its priors.

    `cell` is the interval of each image: 0 = fallen at the smallest ε, len(x) = never fallen. `design` (image, shift)
    shifts ln ε.
    """
    design = np.zeros((len(cell), 0)) if design is None else design
    groups, member = np.unique(design, axis=0, return_inverse=True)
    member = member.reshape(-1)
    counts = np.zeros((len(groups), len(x) + 1))
    np.add.at(counts, (member, cell), 1)
    means = np.array([(x[0] + x[-1]) / 2, math.log(0.5), 3.0, 0.0] + [0.0] * design.shape[1])
    precision = np.array([1 / 25, 1.0, 1 / 4, 1 / 0.49] + [0.0] * design.shape[1])

    def objective(theta: np.ndarray) -> float:
        prior = (precision * (theta - means) ** 2).sum() / 2
        return float(prior - (counts * np.log(cell_shares(theta, x, groups))).sum())

    best = minimize(objective, means, method="BFGS", options={"gtol": 1e-6})
    best = minimize(objective, best.x, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10, "maxiter": 4000})
    theta = best.x
    shares = cell_shares(theta, x, groups)
    derivative = gradient_of(lambda v: cell_shares(v, x, groups), theta)  # (parameter, group, cell)
    sizes = counts.sum(1)
    information = np.einsum("pgc,qgc,gc,g->pq", derivative, derivative, 1 / shares, sizes)
    inverse = np.linalg.inv(information + np.diag(precision))
    scores = (derivative / shares)[:, member, cell].T
    _, who = np.unique(patients, return_inverse=True)
    sums = np.zeros((who.max() + 1, len(theta)))
    np.add.at(sums, who, scores)
    observed = np.cumsum(counts.sum(0))[:-1] / len(cell)
    return Curve(theta, x, inverse, sums @ inverse, information, observed, shares, counts)


def half_point(theta: np.ndarray) -> float:
    """Return ln ε50: F = 0.5 of all images. Infinite where the asymptote is below one half."""
    mu, ln_s, logit_a, ln_f = theta[:4]
    asymptote = 1 / (1 + math.exp(-logit_a))
    if asymptote <= 0.5:
        return math.inf
    base = math.exp(math.log(0.5 / asymptote) / math.exp(ln_f))
    return float(mu - math.exp(ln_s) * math.log(1 / base - 1))


@dataclass(frozen=True)
class Epsilon50:
    """ε50 of one network on the scale of ln ε."""

    log: float
    variance: float
    side: str
    curve: Curve
    influences: np.ndarray
    patients: int
    low: float
    high: float


def reached(o: Outcomes, reading: str = "last", dose: str = "monotone") -> np.ndarray:
    """Return whether each image had fallen at each amplitude, (ε, image)."""
    at = o.wrong[:, -1] if reading == "last" else o.wrong[:, 1:].any(1)
    return np.logical_or.accumulate(at, 0) if dose == "monotone" else at


def epsilon50(o: Outcomes, level: float = 0.95) -> Epsilon50:
    """Return ε50 of one network: estimate, variance, interval."""
    x = np.log(o.epsilons)
    fallen = reached(o)
    cell = (~fallen).sum(0)
    curve = fit_curve(x, cell, o.patients)
    side = "below" if curve.shares[0] > 0.5 else "above" if curve.shares[-1] < 0.5 else "inside"
    log = half_point(curve.theta)
    derivative = gradient_of(half_point, curve.theta)
    at = int(np.clip(np.searchsorted(x, log), 1, len(x) - 1))
    gap = x[at] - x[at - 1]
    variance = curve.variance(derivative) + (0.03 * gap) ** 2
    patients = len(curve.influences)
    half = t.ppf((1 + level) / 2, patients - 1) * math.sqrt(variance)
    return Epsilon50(log, variance, side, curve, curve.influences @ derivative, patients, math.exp(log - half), math.exp(log + half))


# ------------------------------------------------------------------------------------------------ over cohorts


@dataclass(frozen=True)
class Pooled:
    """A random-effects estimate."""

    estimate: float
    error: float
    low: float
    high: float
    p: float
    prediction: tuple[float, float] | None
    i2: float


def pool(values: np.ndarray, variances: np.ndarray, design: np.ndarray, contrast: np.ndarray, level: float, m: int) -> Pooled:
    """Return a contrast of a meta-regression: Paule–Mandel, Hartung–Knapp with factor ≥ 1."""
    k, p = design.shape

    def fitted(tau2: float) -> tuple[np.ndarray, np.ndarray, float]:
        weights = 1 / (variances + tau2)
        bread = np.linalg.inv(design.T * weights @ design)
        beta = bread @ (design.T @ (weights * values))
        return beta, bread, float((weights * (values - design @ beta) ** 2).sum())

    tau2 = 0.0 if fitted(0.0)[2] <= k - p else float(brentq(lambda v: fitted(v)[2] - (k - p), 0, 1e4, xtol=1e-14))
    beta, bread, q = fitted(tau2)
    estimate = float(contrast @ beta)
    error = math.sqrt(max(1.0, q / (k - p)) * float(contrast @ bread @ contrast))
    half = t.ppf((1 + level) / 2, k - p) * error
    prediction = None
    if k >= 3 and k - p - 1 >= 1:
        reach = t.ppf((1 + level) / 2, k - p - 1) * math.sqrt(m * tau2 + error**2)
        prediction = (estimate - reach, estimate + reach)
    weights = 1 / variances
    hat = design @ np.linalg.inv(design.T * weights @ design) @ (design.T * weights)
    typical = (k - p) / float((weights * (1 - np.diag(hat))).sum())
    p_value = float(2 * t.sf(abs(estimate) / error, k - p))
    return Pooled(estimate, error, estimate - half, estimate + half, p_value, prediction, tau2 / (tau2 + typical))


def clustered_mean(values: np.ndarray, patients: np.ndarray) -> tuple[float, float, int]:
    """Return the mean over images, its patient-clustered variance and the number of patients."""
    _, who = np.unique(patients, return_inverse=True)
    g = int(who.max()) + 1
    sums = np.bincount(who, values - values.mean(), g)
    return float(values.mean()), float((sums**2).sum() / len(values) ** 2 * g / (g - 1)), g
