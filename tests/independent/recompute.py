"""The numbers of a report, computed anew from a store's Parquet and JSON files.

Written from src/advassay/records/FORMAT.md and docs/explanation/statistics.md alone: NumPy and SciPy, no line of the
package. Where this file and the package differ, one of them does not do what those two pages say.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
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
    flags: dict[str, dict[tuple[str, float], np.ndarray]]
    """Flag → grid point → (image,) bool; a flag that a shard lacks is false there."""
    image_ids: tuple[str, ...]

    @property
    def names(self) -> frozenset[str]:
        """The images."""
        return frozenset(self.image_ids)

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
    flags: dict[str, dict[tuple[str, float], np.ndarray]] = {}
    seen: set[tuple[str, float, int]] = set()
    for shard in sorted(p for p in (folder / "shards").glob("*.parquet") if not p.name.startswith(".")):
        table = pq.read_table(shard)
        marks = {c.removeprefix("flag_"): table[c].to_pylist() for c in table.column_names if c.startswith("flag_")}
        flat = table["logits"].combine_chunks()
        logits = np.asarray(flat.flatten().flatten()).reshape(len(table), *shape[1:])
        columns = (table[name].to_pylist() for name in ("image_id", "step_size", "epsilon", "restart"))
        for row, (image, step_size, epsilon, restart) in enumerate(zip(*columns, strict=True)):
            key = (step_size, epsilon, place[image])
            if restart != 0 or key in seen:
                continue
            seen.add(key)
            points.setdefault((step_size, epsilon), np.full(shape, np.nan, np.float32))[place[image]] = logits[row]
            for name, marked in marks.items():
                of_point = flags.setdefault(name, {}).setdefault((step_size, epsilon), np.zeros(len(place), bool))
                of_point[place[image]] = marked[row]
    patients = [
        p if known else i
        for i, p, known in zip(images["image_id"], images["patient_id"], images["has_patient"], strict=True)
    ]
    contrast = np.array(images["clean_contrast"], float)
    return Run(header, np.array(images["label"]), np.array(patients), contrast, points, flags, tuple(place))


def decisions(logits: np.ndarray) -> np.ndarray:
    """Return the predicted class: the lowest index wins a tie, −1 where any logit is NaN."""
    return np.where(np.isnan(logits).any(-1), -1, np.nan_to_num(logits, nan=-np.inf).argmax(-1))


@dataclass(frozen=True)
class Outcomes:
    """The images that a network first classified correctly, at one step size, and when they were misclassified."""

    run: Run
    step_size: str
    epsilons: np.ndarray
    """Distinct amplitudes: min(ε, K · step size) for sign steps of absolute size."""
    grid: np.ndarray
    """The ε that were asked for; `places` are those of `epsilons` among them."""
    places: np.ndarray
    wrong: np.ndarray
    """(grid, iterate, image) bool: decided, and not for the label."""
    decided: np.ndarray
    """(grid, image) bool: no iterate has a NaN logit."""
    patients: np.ndarray
    confidence: np.ndarray
    flags: dict[str, np.ndarray]
    """Flag → (grid, image) bool."""

    @property
    def vanished(self) -> np.ndarray:
        """(image,) bool: at some ε the loss was saturated or the gradient zero."""
        none = np.zeros(len(self.patients), bool)
        return none | np.any([self.flags[n].any(0) for n in ("saturated", "zero_gradient") if n in self.flags], axis=0)

    def at(self, success: str, iterate: int = -1) -> np.ndarray:
        """Return (grid, image): misclassified at the iterate ("last"), or at any of 1 … iterate ("any")."""
        if success == "last":
            return self.wrong[:, iterate]
        stop = self.wrong.shape[1] if iterate == -1 else iterate + 1
        return self.wrong[:, 1:stop].any(1)

    @property
    def judged(self) -> np.ndarray:
        """(image,) bool: decided at every amplitude; only these have a dose."""
        return self.decided[self.places].all(0)


def outcomes(run: Run, step_size: str) -> Outcomes:
    """Return what happened to the images that the network first classified correctly."""
    grid = run.epsilons(step_size)
    logits = np.stack([run.logits[step_size, e] for e in grid])
    clean = logits[0, :, 0].astype(float)
    kept = decisions(clean) == run.labels
    predicted = np.moveaxis(decisions(logits[:, kept]), 1, 2)
    wrong = (predicted >= 0) & (predicted != run.labels[kept])
    shifted = np.exp(clean[kept] - clean[kept].max(1, keepdims=True))
    reached = np.array(grid)
    attack = run.header["attack"]
    absolute = not step_size.startswith("epsilon") and not attack["random_start"]
    if attack["update"] == "projected-sign" and absolute:
        reached = np.minimum(reached, float(step_size) * run.header["steps"])
    new = np.concatenate([[True], np.diff(reached) > 1e-9 * reached[1:]])
    return Outcomes(
        run, step_size, reached[new], np.array(grid), np.flatnonzero(new), wrong, (predicted >= 0).all(1),
        run.patients[kept], (shifted / shifted.sum(1, keepdims=True)).max(1),
        {name: np.stack([of[step_size, e][kept] for e in grid]) for name, of in run.flags.items()},
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------ rates


def wilson(share: np.ndarray, n: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Return Wilson's bounds of a share."""
    z = norm.ppf((1 + level) / 2)
    middle, half = share + z * z / (2 * n), z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return np.maximum((middle - half) / (1 + z * z / n), 0), np.minimum((middle + half) / (1 + z * z / n), 1)


def by_patient(values: np.ndarray, patients: np.ndarray, everyone: np.ndarray) -> np.ndarray:
    """Return (point, patient) sums of (point, image) values; patients in the order of the sorted ids of `everyone`."""
    who = np.searchsorted(everyone, patients)
    sums = np.zeros((len(values), len(everyone)))
    np.add.at(sums.T, who, values.T)
    return sums


def design_effect_n(events: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return n / design effect of every point of one curve, with one ICC for all of them (table of rates)."""
    n, patients = images.sum(1), (images > 0).sum(1)
    between_less_within = total = 0.0
    for e, m, size, groups in zip(events, images, n, patients, strict=True):
        if np.minimum((e > 0).sum(), (m > e).sum()) < 5 or size <= groups:
            continue
        share = np.divide(e, m, out=np.zeros_like(e), where=m > 0)
        between = (m * (share - e.sum() / size) ** 2).sum() / (groups - 1)
        within = (e * (1 - share)).sum() / (size - groups)
        usual = (size - (m**2).sum() / size) / (groups - 1)
        between_less_within += between - within
        total += between + (usual - 1) * within
    icc = float(np.clip(between_less_within / total, 0, 1)) if total > 0 else 1.0
    return np.minimum(n / (1 + ((images**2).sum(1) / n - 1) * icc), n)


def rates_of(run: Run, patients: np.ndarray, yes: np.ndarray, kept: np.ndarray, level: float) -> list[dict[str, Any]]:
    """Return the row of every point of one curve; `yes` and `kept` are (point, image), `patients` those images'."""
    everyone = np.unique(run.patients)
    events, images = by_patient(yes & kept, patients, everyone), by_patient(kept, patients, everyone)
    n, total, groups = images.sum(1), events.sum(1), (images > 0).sum(1)
    single = (images <= 1).all(1)
    either = np.minimum((events > 0).sum(1), (images > events).sum(1))
    kish = n**2 / (images**2).sum(1)
    resampled = ~single & (kish >= 20) & (either >= 15)
    student = (norm.ppf((1 + level) / 2) / t.ppf((1 + level) / 2, np.maximum(kish - 1, 1))) ** 2
    effective = np.maximum(design_effect_n(events, images) * student, kish)
    low, high = wilson(total / n, np.where(single, n, effective), level)
    if resampled.any():
        low[resampled], high[resampled] = bootstrap(events[resampled], images[resampled], level)
    method = np.select([single, ~resampled], ["Wilson", "Wilson, effective n"], "patient bootstrap")
    return [
        {"rate": total[i] / n[i], "low": low[i], "high": high[i], "n": int(n[i]), "events": int(total[i]),
         "patients": int(groups[i]), "method": str(method[i])}
        for i in range(len(n))
    ]  # fmt: skip


def bootstrap(events: np.ndarray, images: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Return Wilson's bounds with the n that would have the variance of 1,000 resamples of patients."""
    number = images.shape[1]
    drawn = np.random.default_rng(0).integers(0, number, (1000, number))
    weights = np.stack([np.bincount(row, minlength=number) for row in drawn])
    variance = ((weights @ events.T) / (weights @ images.T)).var(0)
    rate, n = events.sum(1) / images.sum(1), images.sum(1)
    kish = n**2 / (images**2).sum(1)
    size = np.minimum(rate * (1 - rate) / (variance * kish / (kish - 1)), 2 * n)
    upper = (1 + level) / 2
    return wilson(rate, size * (norm.ppf(upper) / t.ppf(upper, kish - 1)) ** 2, level)


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
    portions: np.ndarray
    """(patient,): share of the images."""
    information: np.ndarray
    shares: np.ndarray
    """Observed share of images at or below each amplitude."""
    cells: np.ndarray
    counts: np.ndarray

    def variance(self, derivative: np.ndarray) -> float:
        """Return the variance of a function of θ: the larger of the model's and the patient-clustered one.

        NaN with fewer than two effective patients.
        """
        if self.effective < 2:
            return math.nan
        return float(max(self.of_images(derivative), ((self.influences @ derivative) ** 2 / self.rest).sum()))

    def of_images(self, derivative: np.ndarray) -> float:
        """Return the model's variance of a function of θ."""
        return float(derivative @ self.inverse @ derivative)

    @property
    def rest(self) -> np.ndarray:
        """(patient,): share of the images that others have."""
        return 1 - self.portions

    @property
    def effective(self) -> float:
        """Kish's effective number of patients."""
        return float(1 / (self.portions**2).sum())


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
    precision = np.array([1 / 25, 1.0, 1 / 4, 1 / 0.49] + [1 / 4] * design.shape[1])

    def objective(theta: np.ndarray) -> float:
        prior = (precision * (theta - means) ** 2).sum() / 2
        return float(prior - (counts * np.log(cell_shares(theta, x, groups))).sum())

    theta = minimize(objective, means, jac=partial(gradient_of, objective), method="BFGS", options={"gtol": 1e-5}).x
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
    portions = np.bincount(who) / len(cell)
    return Curve(theta, x, inverse, sums @ inverse, portions, information, observed, shares, counts)


def half_point(theta: np.ndarray) -> float:
    """Return ln ε50: F = 0.5 of all images. Infinite where the asymptote is below one half."""
    mu, ln_s, logit_a, ln_f = theta[:4]
    asymptote = 1 / (1 + math.exp(-logit_a))
    if asymptote <= 0.5:
        return math.inf
    base = math.exp(math.log(0.5 / asymptote) / math.exp(ln_f))
    return float(mu - math.exp(ln_s) * math.log(1 / base - 1))


def categories(o: Outcomes, success: str, dose: str, images: np.ndarray | None = None) -> np.ndarray:
    """Return the interval of each judged image's smallest ε: 0 = below the first amplitude, last = never fallen."""
    at = o.at(success)[o.places][:, o.judged if images is None else images]
    if dose == "monotone":
        return (~np.logical_or.accumulate(at, 0)).sum(0)
    return len(at) - np.logical_and.accumulate(at[::-1], 0).sum(0)


@dataclass(frozen=True)
class Epsilon50:
    """ε50 of one network."""

    log: float
    variance: float
    side: str
    shape: float
    """Part of the variance that is for the shape of the curve between two amplitudes."""
    derivative: np.ndarray
    """Of ln ε50 in the curve's parameters."""
    bracket: tuple[float, float]
    """ln of the amplitudes between which the share crosses one half with confidence; infinite where open."""
    bounded: float
    """ln ε50, the nearer end of the grid where it lies outside."""
    curve: Curve
    influences: np.ndarray
    """(patient,) sums of the images' influences on ln ε50."""
    names: np.ndarray
    images: int
    row: dict[str, Any]
    """What is printed."""

    @property
    def known(self) -> tuple[float, int] | None:
        """What is known of ln ε50: (value, 0), (bound, −1 or 1), or nothing."""
        below, above = self.bracket
        if self.side == "below" and math.isfinite(above):
            return above, -1
        if self.side == "above" and math.isfinite(below):
            return below, 1
        return (self.log, 0) if self.side == "inside" and math.isfinite(self.variance) else None

    @property
    def freedom(self) -> float:
        """Return effective patients less one."""
        return max(self.curve.effective - 1, 1.0)


def epsilon50(o: Outcomes, plan: dict[str, Any], images: np.ndarray | None = None) -> Epsilon50:
    """Return ε50 of one network, or of some images of it: estimate, variance, bracket and what is printed."""
    x, level = np.log(o.epsilons), plan["level"]
    used = o.judged if images is None else o.judged & images
    cell, patients = categories(o, plan["success"], plan["dose"], used), o.patients[used]
    curve = fit_curve(x, cell, patients)
    shares = curve.shares
    side = "below" if shares[0] > 0.5 else "above" if shares[-1] < 0.5 else "inside"
    at = int(np.clip(np.searchsorted(shares, 0.5), 1, len(x) - 1))
    gap, p = x[at] - x[at - 1], goodness(curve, cell, patients)
    log = half_point(curve.theta)
    derivative = gradient_of(half_point, curve.theta) if math.isfinite(log) else np.zeros(len(curve.theta))
    partial_ = (shares > 0.05 * shares[-1]) & (shares < 0.95 * shares[-1])
    shape = ((0.03 if partial_.sum() > 1 else 0.08) * gap) ** 2 if math.isfinite(log) else gap**2
    if p is not None and p < 0.01:
        shape += misfit(curve, log, gap)
    crossing = int(np.searchsorted(shares, 0.5))
    determined = bool(partial_[max(crossing - 1, 0) : crossing + 1].any())
    if not determined:
        shape = max(shape, gap**2 / 12)
    variance = curve.variance(derivative) + shape
    log = float(np.clip(log, x[0], x[-1]))
    below, above = bracket(cell, patients, x, level)
    trusted = side == "inside" and (p is None or p >= 0.01) and below <= log <= above
    trusted = trusted and determined and curve.effective >= 2
    low, high = math.exp(below), math.exp(above)
    if trusted:
        half = t.ppf((1 + level) / 2, max(curve.effective - 1, 1)) * math.sqrt(variance)
        low, high = math.exp(log - half), math.exp(log + half)
        low, high = low if low >= o.epsilons[0] else 0.0, high if high <= o.epsilons[-1] else math.inf
    estimate = {"below": 0.0, "above": math.inf}.get(side, math.exp(log))
    row = {
        "n": len(cell), "patients": len(curve.influences), "smallest": o.epsilons[0], "largest": o.epsilons[-1],
        "estimate": finite(estimate), "low": finite(low), "high": finite(high), "side": side,
        "text": epsilon50_text(estimate, low, high, side, trusted, o.epsilons),
        "text_255": epsilon50_text(estimate * 255, low * 255, high * 255, side, trusted, o.epsilons * 255),
        "method": "log-logistic" if trusted else "bracket",
        "bracket_low": finite(math.exp(below)), "bracket_high": finite(math.exp(above)),
        "ever": 1 / (1 + math.exp(-curve.theta[2])), "fit_p": p,
    }  # fmt: skip
    names = np.unique(patients)
    bounded = {"below": x[0], "above": x[-1]}.get(side, log)
    return Epsilon50(
        log, variance, side, shape, derivative, (below, above), bounded, curve, curve.influences @ derivative, names,
        len(cell), row,
    )  # fmt: skip


def finite(value: float) -> float | None:
    """Return null for an open end: 0 below the grid, infinity beyond it."""
    return None if value == 0 or not math.isfinite(value) else float(value)


def bracket(cell: np.ndarray, patients: np.ndarray, x: np.ndarray, level: float) -> tuple[float, float]:
    """Return ln of the amplitudes between which the share crosses one half with confidence; infinite where open."""
    fallen = cell[None, :] <= np.arange(len(x))[:, None]
    everyone = np.unique(patients)
    events, images = (by_patient(v, patients, everyone) for v in (fallen, np.ones_like(fallen)))
    low, high = wilson(events.sum(1) / images.sum(1), design_effect_n(events, images), level)
    below, above = x[high < 0.5], x[low > 0.5]
    return (below[-1] if below.size else -math.inf), (above[0] if above.size else math.inf)


def goodness(curve: Curve, cell: np.ndarray, patients: np.ndarray) -> float | None:
    """Return p of Pearson's X² over joined intervals, divided by the mean design effect of their counts."""
    expected = len(cell) * curve.cells[0]
    joined, total, group = np.zeros(len(expected), int), 0.0, 0
    for i, value in enumerate(expected):
        joined[i], total = group, total + value
        if total >= 1 and expected[i + 1 :].sum() >= 1:
            group, total = group + 1, 0.0
    freedom = group - float(np.trace(curve.inverse @ curve.information))
    if freedom < 0.5:
        return None
    e, o = np.bincount(joined, expected), np.bincount(joined, curve.counts[0])
    one = (cell[None, :] == np.arange(len(expected))[:, None]).astype(float)
    centred = one - one.mean(1, keepdims=True)
    sums = by_patient(centred, patients, np.unique(patients))
    effect = max(1.0, float((sums**2).sum() / (centred**2).sum()))
    return float(chi2.sf(((o - e) ** 2 / e).sum() / effect, freedom))


def misfit(curve: Curve, log: float, gap: float) -> float:
    """Return the variance added for a curve that does not fit."""
    if not math.isfinite(log):
        return gap**2 / 12
    at = int(np.clip(np.searchsorted(curve.x, log), 1, len(curve.x) - 1))
    beside = slice(at - 1, at + 1)
    missed = np.abs(share_fallen(curve.theta, curve.x[beside]) - curve.shares[beside]).max()
    slope = np.diff(share_fallen(curve.theta, log + np.array([-0.05, 0.05])))[0] / 0.1
    return float(min(gap**2 / 12, (missed / slope) ** 2)) if slope > 0 else gap**2 / 12


def epsilon50_text(
    estimate: float, low: float, high: float, side: str, trusted: bool, epsilons: np.ndarray
) -> str:  # fmt: skip
    """Return ε50 as it is printed: three significant digits, "<" and ">" outside the grid."""

    def written(value: float) -> str:
        if value < epsilons[0]:
            return f"< {epsilons[0]:.3g}"
        return f"> {epsilons[-1]:.3g}" if value > epsilons[-1] else f"{value:.3g}"

    ends = written(low), written(high)
    if side == "inside" and not trusted:
        if ends[0][0] == "<":
            return f"{ends[0]} to {ends[1]}" if ends[1][0] == ">" else f"at most {ends[1]}"
        return f"at least {ends[0]}" if ends[1][0] == ">" else f"between {ends[0]} and {ends[1]}"
    alone = (side == "below" and high <= epsilons[0]) or (side == "above" and low >= epsilons[-1])
    return written(estimate) if alone else f"{written(estimate)} [{ends[0]}, {ends[1]}]"


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
    freedom: float


@dataclass(frozen=True)
class Value:
    """A number of one cohort, or of cohorts joined."""

    value: float
    variance: float
    freedom: float
    images: int
    image_type: str
    names: frozenset[str]
    """The images it is about."""
    bound: int | None = 0
    """1: known only to be at least `value`, −1: at most, null: it is the mean of some of either."""
    parts: tuple[tuple[float, int], ...] = ()
    """What it is the mean of, where some of that is only bounded: value and bound of each."""

    def interval(self, level: float) -> tuple[float, float]:
        """Return the cohort's own interval; open beyond a bound."""
        half = float(t.ppf((1 + level) / 2, self.freedom)) * math.sqrt(np.nan_to_num(self.variance))
        low = self.value - half if self.bound in (0, 1) else -math.inf
        return low, self.value + half if self.bound in (0, -1) else math.inf


def pool(values: list[Value], design: np.ndarray, contrast: np.ndarray, level: float, m: int) -> Pooled:
    """Return a contrast of a meta-regression, by the fit with the larger error of two."""
    fits = [fit_of(values, design, contrast, equal=equal) for equal in (False, True)]
    freedom = min(known for _, _, known, _, _ in fits) - design.shape[1]
    estimate, error, _, tau2, _ = max(fits, key=lambda fit: fit[1])
    half = float(t.ppf((1 + level) / 2, freedom)) * error
    prediction = None
    if len(values) >= 3 and freedom - 1 >= 1:
        reach = float(t.ppf((1 + level) / 2, freedom - 1)) * math.sqrt(m * tau2 + error**2)
        prediction = (estimate - reach, estimate + reach)
    p_value = float(2 * t.sf(abs(estimate) / error, freedom))
    return Pooled(estimate, error, estimate - half, estimate + half, p_value, prediction, fits[0][4], freedom)


def fit_of(
    values: list[Value], design: np.ndarray, contrast: np.ndarray, *, equal: bool
) -> tuple[float, float, float, float, float]:
    """Return estimate, error, what the units tell (a value tells 1), τ² and I²; censored values by EM.

    `equal`: least squares with Hedges and Olkin's τ²; else Paule and Mandel's, Hartung and Knapp with factor ≥ 1.
    """
    k, p = design.shape
    parts = [v.parts or ((v.value, v.bound or 0),) for v in values]
    open_ = np.array([any(bound for _, bound in of) for of in parts])
    v = np.array([value.variance for value in values])
    v[open_] = v[~open_].mean()
    y, spread = np.array([np.mean([value for value, _ in of]) for of in parts]), np.zeros(k)

    def fitted(tau2: float, of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, weights = design[of], np.ones(int(of.sum())) if equal else 1 / (v[of] + tau2)
        beta = np.linalg.solve(x.T * weights @ x, x.T @ (weights * y[of]))
        return beta, (y[of] - x @ beta) ** 2 + spread[of]

    def tau2_of(of: np.ndarray) -> float:
        freedom, x = int(of.sum()) - p, design[of]
        if equal:
            hat = np.diag(x @ np.linalg.inv(x.T @ x) @ x.T)
            return max(0.0, float(fitted(0.0, of)[1].sum() - (v[of] * (1 - hat)).sum()) / freedom)

        def excess(tau2: float) -> float:
            return float((fitted(tau2, of)[1] / (v[of] + tau2)).sum()) - freedom

        return float(brentq(excess, 0, 1e4, xtol=1e-14)) if excess(0.0) > 0 else 0.0

    def expected(value: float, bound: int, mean: float, sd: float) -> tuple[float, float]:
        if not bound:
            return value, 0.0
        a = bound * (value - mean) / sd
        hazard = math.exp(norm.logpdf(a) - norm.logsf(a))
        return mean + bound * sd * hazard, sd**2 * (1 + a * hazard - hazard**2)

    every = np.ones(k, bool)
    tau2 = tau2_of(~open_)
    beta, squares = fitted(tau2, ~open_)
    for _ in range(100 if open_.any() else 1):
        if open_.any():
            told = [
                np.mean([expected(*part, mean, sd) for part in of], axis=0)
                for of, mean, sd in zip(parts, design @ beta, np.sqrt(v + tau2), strict=True)
            ]
            y, spread = np.array(told).T
            tau2 = tau2_of(every)
        before, (beta, squares) = beta, fitted(tau2, every)
        if np.abs(beta - before).max() < 1e-7:
            break
    total = v + tau2
    known = np.clip(1 - spread / total, 0, 1)
    if equal:
        bread = np.linalg.inv(design.T * known @ design)
        covariance = bread @ (design.T * (known * total) @ design) @ bread
    else:
        covariance = np.linalg.inv(design.T * (known / total) @ design)
        covariance *= max(1.0, float((squares / total).sum()) / (k - p))
    within = 1 / v
    hat = design @ np.linalg.inv(design.T * within @ design) @ (design.T * within)
    typical = (k - p) / float((within * (1 - np.diag(hat))).sum())
    error = math.sqrt(float(contrast @ covariance @ contrast))
    return float(contrast @ beta), error, float(known.sum()), tau2, tau2 / (tau2 + typical)


def mean_of(values: list[Value]) -> Value:
    """Return the mean of numbers of which some may only be bounded, as if wholly dependent."""
    bounds = {v.bound for v in values} - {0}
    errors = [math.sqrt(v.variance) for v in values if v.bound == 0]
    return Value(
        float(np.mean([v.value for v in values])), float(np.mean(errors)) ** 2 if errors else math.nan,
        min(v.freedom for v in values), sum(v.images for v in values), values[0].image_type,
        frozenset().union(*(v.names for v in values)), 0 if not bounds else bounds.pop() if len(bounds) == 1 else None,
        tuple(part for v in values for part in v.parts or ((v.value, v.bound or 0),)) if bounds else (),
    )  # fmt: skip


def over_seeds(networks: list[list[Value]]) -> list[Value]:
    """Return one value a cohort: the mean over its main networks, with the variance between trainings."""
    networks = [[v for v in values if v.bound != 0 or math.isfinite(v.variance)] for values in networks]
    inside = [np.array([v.value for v in values if v.bound == 0]) for values in networks]
    repeated = [values for values in inside if len(values) > 1]
    freedom = sum(len(values) - 1 for values in repeated)
    between = sum(float(((values - values.mean()) ** 2).sum()) for values in repeated) / freedom if freedom else 0.0
    found = []
    for values in filter(None, networks):
        if len(values) == 1:
            found += values
            continue
        sampling = float(np.mean([v.variance for v in values if v.bound == 0] or [math.nan]))
        training = between / len(values)
        known = min(v.freedom for v in values)
        joint = (sampling + training) ** 2 / (
            sampling**2 / known + (training**2 / freedom if freedom else 0.0)
        )  # fmt: skip
        found.append(replace(
            mean_of(values), images=values[0].images, variance=sampling + training, freedom=max(joint, 1.0)
        ))  # fmt: skip
    return found


def joined(values: list[Value], within_type: bool) -> list[Value]:
    """Return the values, with cohorts that share images as one: mean value, mean error.

    Sharing begins above 5% of the smaller cohort's images. `within_type`: cohorts of one type alone.
    """

    def touch(a: Value, b: Value) -> bool:
        alike = not within_type or a.image_type == b.image_type
        return alike and len(a.names & b.names) > 0.05 * min(len(a.names), len(b.names))

    groups: list[list[Value]] = []
    for value in values:
        touching = [g for g in groups if any(touch(v, value) for v in g)]
        groups = [g for g in groups if g not in touching] + [[*(v for g in touching for v in g), value]]
    return [g[0] if len(g) == 1 else mean_of(g) for g in groups]


def clustered_mean(values: np.ndarray, patients: np.ndarray, smallest: float) -> tuple[float, float, float]:
    """Return the mean over images, its patient-clustered variance (with its floor) and Kish's number of patients."""
    _, who = np.unique(patients, return_inverse=True)
    sums, images = np.bincount(who, values - values.mean()), np.bincount(who)
    kish = float(len(values) ** 2 / (images**2).sum())
    if kish < 2:
        return float(values.mean()), math.nan, kish
    variance = float((sums**2 / (1 - images / len(values))).sum() / len(values) ** 2)
    return float(values.mean()), max(variance, (1.5 * smallest / kish) ** 2), kish


def holm(p: Iterable[float]) -> list[float]:
    """Return Holm's adjusted p values in the given order."""
    p = np.array(list(p))
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))))
    return adjusted.tolist()


# ------------------------------------------------------------------------------------------------ the five questions


DEFAULT_PLAN: dict[str, Any] = {
    "arm": None, "step_size": None, "success": "last", "dose": "monotone", "epsilon": 0.02,
    "confidence_threshold": 0.95, "image_types": ["X-ray", "histology"], "level": 0.95,
    "margins": {"amplitude": 0.02, "iterations": 0.02, "confidence": 1.25, "training_size": 1.25},
}  # fmt: skip


@dataclass(frozen=True)
class Study:
    """A store, and the plan in force."""

    runs: list[Run]
    plan: dict[str, Any]
    planned: bool
    """Whether the store holds an analysis.json."""
    step_sizes: dict[str, str]
    """Arm → the step size that verdicts rest on: the plan's, else the first declared one."""
    declared: dict[str, str]
    """Arm → the step size of its curves: the first declared one."""
    epsilon: float
    """Amplitude of figures over something else."""

    def main(self, arm: str, step_size: str) -> list[Outcomes]:
        """Return the main network of every cohort at one step size of an arm."""
        own = [r for r in self.runs if r.header["primary"] and r.header["arm"] == arm]
        return [outcomes(r, step_size) for r in own]

    def networks(self, arm: str) -> Networks:
        """Return the main networks of every cohort, the primary one first."""
        full = [outcomes(r, self.step_sizes[arm]) for r in self.runs if r.header["full"] and r.header["arm"] == arm]
        by_seed = sorted(full, key=lambda o: (not o.run.header["primary"], o.run.header["seed"]))
        cohorts = dict.fromkeys(o.run.header["cohort"] for o in full)
        return [[o for o in by_seed if o.run.header["cohort"] == name] for name in cohorts]


def read_study(store: Path) -> Study:
    """Return the store with the plan in force: analysis.json, else study.yaml's, else the defaults."""
    study = yaml.safe_load((store / "study.yaml").read_text())
    frozen = store / "analysis.json"
    stated = json.loads(frozen.read_text())["plan"] if frozen.exists() else {}
    attack, arms = study["attack"], study["attack"]["arms"]
    step_sizes = {name: arm.get("step_sizes") or attack["step_sizes"] for name, arm in arms.items()}
    texts = {name: s[0] if isinstance(s[0], str) else f"{s[0]:g}" for name, s in step_sizes.items()}
    declared = dict(texts)
    plan = DEFAULT_PLAN | stated
    plan["arm"] = plan["arm"] or next(iter(arms))
    if plan["step_size"] is not None:
        texts[plan["arm"]] = plan["step_size"] if isinstance(plan["step_size"], str) else f"{plan['step_size']:g}"
    return Study(current_runs(store, attack), plan, frozen.exists(), texts, declared, study["figures"]["epsilon"])


def current_runs(store: Path, attack: dict[str, Any]) -> list[Run]:
    """Return the runs that study.yaml asks for: on the present preparation, by the present rules of the arm."""
    found = []
    for run in read_runs(store):
        h = run.header
        prepared = json.loads((store / "cohorts" / h["cohort"] / "preparation.json").read_text())["identity"]
        rules = {name: attack["arms"][h["arm"]].get(name, attack.get(name)) for name in h["attack"]}
        content = {"cohort": prepared, "classifier": h["classifier"], "attack": rules, "rerun_of": None}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        if hashlib.sha256(text.encode()).hexdigest()[:16] == h["run_id"]:
            found.append(run)
    return found


@dataclass(frozen=True)
class Answer:
    """One conclusion: what is printed of it, and its rows."""

    pooled: Pooled
    printed: dict[str, Any]
    rows: list[dict[str, Any]]
    sentences: dict[str, list[str]]
    """Field of the conclusion → what must stand in it, word by word."""


def points(value: float) -> str:
    """Return a difference of rates in percentage points, one decimal."""
    return f"{100 * value:.1f}".replace("-", "−")


def factor(value: float) -> str:
    """Return a ratio with three significant digits."""
    return "∞" if not math.isfinite(value) else f"{value:.3g}" if value < 100 else f"{value:.0f}"


def ratio_text(effect: Pooled) -> str:
    """Return a pooled log ratio as it is printed."""
    return f"{factor(math.exp(effect.estimate))} [{factor(math.exp(effect.low))}, {factor(math.exp(effect.high))}]"


def points_text(effect: Pooled) -> str:
    """Return a pooled difference as it is printed."""
    return f"{points(effect.estimate)} points [{points(effect.low)}, {points(effect.high)}]"


def verdict_of(low: float, high: float, margin: float | None) -> str:
    """Return the verdict of a claim that the effect is positive."""
    if low > 0:
        return "supported"
    within = margin is not None and -margin < low and high < margin
    return "contradicted" if high < 0 or within else "undecided"


def answer(
    effect: Pooled, verdict: str, rows: list[dict[str, Any]], images: int, k: int, *, ratio: bool, unit: str
) -> Answer:
    """Return what is printed of an effect; ratios are exponentials."""
    scale: Callable[[float], float] = math.exp if ratio else float
    write = factor if ratio else points
    low, middle, high = (scale(v) for v in (effect.low, effect.estimate, effect.high))
    interval = f"[{write(low)}, {write(high)}]"
    prediction = effect.prediction or (None, None)
    printed = {
        "estimate": middle, "low": low, "high": high, "p": effect.p, "n": k, "images": images, "i2": effect.i2,
        "prediction_low": None if prediction[0] is None else scale(prediction[0]),
        "prediction_high": None if prediction[1] is None else scale(prediction[1]),
        "effect": f"ratio {write(middle)} {interval}"
        if ratio
        else f"{write(middle)} percentage points {unit.format(interval)}",
        "verdict": verdict,
    }  # fmt: skip
    return Answer(effect, printed, rows, {"headline": [interval]})


Networks = list[list[Outcomes]]
"""Of each cohort its main networks, the primary one first."""


def values_over(
    main: Networks, statistic: Callable[[Outcomes], Value | None], within_type: bool = False
) -> list[Value]:  # fmt: skip
    """Return one value an independent cohort."""
    found = [[v for o in networks if (v := statistic(o)) is not None] for networks in main]
    return joined(over_seeds([values for values in found if values]), within_type)


def pooled_mean(values: list[Value], level: float) -> Pooled:
    """Return the mean effect over cohorts."""
    return pool(values, np.ones((len(values), 1)), np.ones(1), level, 1)


def value_of(o: Outcomes, found: tuple[float, float, float], images: int, bound: int = 0) -> Value:
    """Return a number of one network; `found` is its value, variance and effective number of patients."""
    return Value(*found[:2], max(found[2] - 1, 1), images, o.run.header["image_type"], o.run.names, bound)


def shared_epsilons(main: Networks) -> np.ndarray:
    """Return the amplitudes that every cohort was attacked at."""
    shared = main[0][0].epsilons
    for o, *_ in main[1:]:
        shared = shared[[bool((np.abs(o.epsilons - e) <= 1e-9 * e).any()) for e in shared]]
    return shared


def places(o: Outcomes, epsilons: np.ndarray) -> np.ndarray:
    """Return where these amplitudes are in the grid."""
    return np.array([o.places[np.abs(o.epsilons - e).argmin()] for e in epsilons])


def contrast_of(study: Study, shared: np.ndarray, weights: np.ndarray, o: Outcomes) -> Value:
    """Return a weighted sum of the success rates at the shared amplitudes."""
    at = o.at(study.plan["success"])[places(o, shared)][:, o.judged]
    return value_of(o, clustered_mean(weights @ at, o.patients[o.judged], np.abs(weights).max()), at.shape[1])


def slope_weights(shared: np.ndarray) -> np.ndarray:
    """Return the weights of the change per doubling of ε."""
    x = np.log2(shared)
    return np.asarray((x - x.mean()) / ((x - x.mean()) ** 2).sum())


def amplitude(study: Study, main: Networks) -> Answer:
    """Question 1: least-squares slope of success over log₂ ε, image by image."""
    plan, shared = study.plan, shared_epsilons(main)
    weights = slope_weights(shared)
    rows, free = [], []
    for networks in main:
        o = networks[0]
        value, at = contrast_of(study, shared, weights, o), o.at(plan["success"])[places(o, shared)][:, o.judged]
        low, high = value.interval(plan["level"])
        rates, monotone = at.mean(1), np.logical_or.accumulate(at, 0).mean(1)
        rows.append(
            {"cohort": o.run.header["cohort"], "change_per_doubling": value.value, "low": low, "high": high,
             "epsilon_from": shared[0], "epsilon_to": shared[-1], "amplitudes": len(shared), "rate_from": rates[0],
             "rate_to": rates[-1], "monotone_rate_to": monotone[-1], "lost_again": monotone[-1] - rates[-1],
             "largest_difference": rates.max() - rates.min(),
             "n": at.shape[1], "patients": len(np.unique(o.patients[o.judged]))}
            | {f"{name}_share": float(marked[:, o.decided.all(0)].mean()) for name, marked in o.flags.items()}
        )  # fmt: skip
        if rates.min() < 0.98 and rates.max() > 1 - 0.98:
            free.append(networks)
    values = values_over(free, partial(contrast_of, study, shared, weights))
    effect = pooled_mean(values, plan["level"])
    verdict = verdict_of(effect.low, effect.high, None)
    if verdict == "undecided" and is_flat(study, main, shared, effect):
        verdict = "contradicted"
    images = sum(v.images for v in values)
    return answer(effect, verdict, rows, images, len(values), ratio=False, unit="per doubling of ε {}")


def is_flat(study: Study, main: Networks, shared: np.ndarray, effect: Pooled) -> bool:
    """Return whether success is the same at all amplitudes: over the range, between any two, with room to change."""
    level, margin, e = study.plan["level"], study.plan["margins"]["amplitude"], len(shared)
    doublings = math.log2(shared[-1] / shared[0])
    if max(-effect.low, effect.high) * doublings >= margin:
        return False
    for i, j in itertools.combinations(range(e), 2):
        weights = np.eye(e)[j] - np.eye(e)[i]
        pair = pooled_mean(values_over(main, partial(contrast_of, study, shared, weights)), level)
        if max(-pair.low, pair.high) >= margin:
            return False
    means = [contrast_of(study, shared, np.full(e, 1 / e), networks[0]).interval(level) for networks in main]
    return all(low > 0.1 and high < 0.9 for low, high in means)


def image_type(study: Study, main: Networks) -> Answer:
    """Question 2: meta-regression of ln ε50 on image type."""
    plan = study.plan

    def ratio(scale: Callable[[Outcomes], float]) -> tuple[Pooled, list[Value]]:
        values = values_over(main, lambda o: log_epsilon50(study, o, scale(o)), within_type=True)
        second = np.array([float(x.image_type == plan["image_types"][1]) for x in values])
        design = np.column_stack([1 - second, second])
        return pool(values, design, np.array([-1.0, 1.0]), plan["level"], 2), values

    (effect, values), (visible, _) = ratio(lambda o: 1.0), ratio(lambda o: float(o.run.contrast.mean()))
    rows = []
    for o, *_ in main:
        e, contrast = epsilon50(o, plan), float(o.run.contrast.mean())
        rows.append(
            {"cohort": o.run.header["cohort"], "epsilon50": e.row["text"], "epsilon50_255": e.row["text_255"],
             "epsilon50_estimate": e.row["estimate"], "epsilon50_low": e.row["low"], "epsilon50_high": e.row["high"],
             "never": 1 - e.row["ever"], "fit_p": e.row["fit_p"], "n": e.images, "patients": e.row["patients"],
             "clean_contrast": contrast,
             "epsilon50_over_contrast": None if e.row["estimate"] is None else e.row["estimate"] / contrast}
        )  # fmt: skip
    verdict = verdict_of(effect.low, effect.high, None)
    done = answer(effect, verdict, rows, sum(v.images for v in values), len(values), ratio=True, unit="")
    done.sentences["remarks"] = [f"is {ratio_text(visible)}."]
    return done


def log_epsilon50(study: Study, o: Outcomes, scale: float) -> Value | None:
    """Return ln (ε50 / scale) of one network; a bound where it lies outside the grid; null where nothing is known."""
    e = epsilon50(o, study.plan)
    if e.known is None:
        return None
    value, bound = e.known
    return value_of(o, (value - math.log(scale), e.variance, e.curve.effective), e.images, bound)


def rise(o: Outcomes, success: str, epsilons: np.ndarray, first: int | None = None) -> Value:
    """Return the rise of success from one iterate (null: half of them) to the last, as a mean over these ε."""
    at = places(o, epsilons)
    kept = o.decided[at].all(0)
    late, early = o.at(success), o.at(success, o.run.header["steps"] // 2 if first is None else first)
    change = (late[at][:, kept].astype(float) - early[at][:, kept]).mean(0)
    smallest = max(float(np.abs(change).max()), 1 / len(at))
    return value_of(o, clustered_mean(change, o.patients[kept], smallest), int(kept.sum()))


def iterations(study: Study, main: Networks) -> Answer:
    """Question 3: rise from K/2 to K at the plan's ε and over all, after a rise since the first iterate."""
    plan, shared = study.plan, shared_epsilons(main)
    level, margin, success = plan["level"], plan["margins"]["iterations"], plan["success"]
    one = shared[[np.abs(shared - plan["epsilon"]).argmin()]]
    asked = {"": (one, None), "all_epsilons_": (shared, None), "from_first_": (shared, 1)}
    rows = []
    for o, *_ in main:
        steps = o.run.header["steps"]
        row: dict[str, Any] = {
            "cohort": o.run.header["cohort"],
            "epsilon": one[0],
            "iterations": steps,
            "half": steps // 2,
        }
        for name, (epsilons, first) in asked.items():
            value = rise(o, success, epsilons, first)
            low, high = value.interval(level)
            row |= {f"{name}rise": value.value, f"{name}low": low, f"{name}high": high}
        at = places(o, one)[0]
        half_fallen = [k for k in range(1, steps + 1) if o.at("any", k)[at][o.decided[at]].mean() >= 0.5]
        row |= {"n": int(o.decided[at].sum()), "rate": float(o.at(success)[at][o.decided[at]].mean()),
                "median_iterations": half_fallen[0] if half_fallen else None}  # fmt: skip
        row |= control_row(study, o, shared)
        rows.append(row)
    values = {
        name: values_over(main, partial(rise, success=success, epsilons=epsilons, first=first))
        for name, (epsilons, first) in asked.items()
    }
    effects = {name: pooled_mean(found, level) for name, found in values.items()}
    control = control_of(study, main, shared)
    verdict = plateau(effects, control, margin, study.planned)
    beyond = [name for name in ("all_epsilons_", "") if is_beyond(effects[name], margin)]
    on = "all_epsilons_"
    if verdict == "contradicted" and "all_epsilons_" not in beyond and beyond:
        on = ""
    elif verdict == "undecided" and is_within(effects["all_epsilons_"], margin):
        on = "" if abs(effects[""].estimate) >= margin else on
    decisive, used, when = effects[on], values[on], "over the second half of the iterations"
    if verdict == "contradicted" and not beyond and control.values and is_beyond(control.effect, margin):
        decisive, used, when = control.effect, control.values, "with twice the iterations"
    n, unit = sum(v.images for v in used), f"{when} {{}}"
    done = answer(decisive, verdict, rows, n, len(used), ratio=False, unit=unit)
    other = "any" if success == "last" else "last"
    again = pooled_mean(values_over(main, partial(rise, success=other, epsilons=shared)), level)
    done.sentences["reason"] = [f": {points_text(effect)}" for effect in effects.values()]
    if control.values:
        done.sentences["reason"].append(f"Change with twice the iterations: {points_text(control.effect)}")
    done.sentences["remarks"] = [f"on average over all ε, is {points_text(again)}."]
    return done


@dataclass(frozen=True)
class Control:
    """What 2K iterations did to the samples of all main networks."""

    effect: Pooled
    values: list[Value]
    ran: bool
    everywhere: bool
    """With changes by image, in every main network that has controls, and in the first of every cohort."""
    counted: float | None
    """Change of the success rate over all images × ε together."""


def doubling_of(o: Outcomes) -> dict[str, Any] | None:
    """Return the control to 2K iterations of a run at this step size."""
    found = (o.run.header["controls"] or {}).get("doubling")
    return found if found and found["step_size"] == o.step_size else None


def counted_change(study: Study, main: list[Outcomes]) -> tuple[int, float | None]:
    """Return how many images × ε were attacked again to 2K iterations, and the change of their success rate."""
    points = [point for o in main if (found := doubling_of(o)) for point in found["by_epsilon"].values()]
    name = {"last": "at", "any": "any"}[study.plan["success"]]
    images = sum(p["images"] for p in points)
    return images, sum(p[f"{name}_2k"] - p[f"{name}_k"] for p in points) / images if images else None


def control_change(study: Study, epsilons: np.ndarray, o: Outcomes) -> Value | None:
    """Return the change of success from K to 2K, as a mean over these amplitudes."""
    found = doubling_of(o)
    if not found or not found.get("changes") or not len(epsilons):
        return None
    patient = dict(zip(o.run.image_ids, o.run.patients, strict=True))
    kept = np.array([name in patient for name in found["image_ids"]])
    change = np.zeros(len(kept))
    prefix = "" if study.plan["success"] == "last" else "any_"
    for text, of in found["changes"].items():
        if np.isclose(float(text), epsilons, rtol=1e-9, atol=0).any():
            change[of[f"{prefix}gained"]] += 1 / len(epsilons)
            change[of[f"{prefix}lost"]] -= 1 / len(epsilons)
            kept[of["left_out"]] = False
    if not kept.any():
        return None
    who = np.array([patient[name] for name, of in zip(found["image_ids"], kept, strict=True) if of])
    smallest = max(float(np.abs(change[kept]).max()), 1 / len(epsilons))
    return value_of(o, clustered_mean(change[kept], who, smallest), int(kept.sum()))


def doubled_epsilons(networks: list[Outcomes], shared: np.ndarray) -> np.ndarray:
    """Return those of the shared amplitudes that all controls with changes by image are of."""
    for o in networks:
        found = doubling_of(o)
        if found and found.get("changes"):
            known = np.array([float(text) for text in found["changes"]])
            shared = shared[[bool(np.isclose(known, e, rtol=1e-9, atol=0).any()) for e in shared]]
    return shared


def control_row(study: Study, o: Outcomes, shared: np.ndarray) -> dict[str, Any]:
    """Return what is printed of one network's control."""
    compared, counted = counted_change(study, [o])
    value = control_change(study, doubled_epsilons([o], shared), o)
    low, high = value.interval(study.plan["level"]) if value else (None, None)
    return {"doubling_compared": compared, "doubling_gained": counted, "doubling_images": value.images if value else 0,
            "doubling_change": value.value if value else None, "doubling_low": low, "doubling_high": high}  # fmt: skip


def control_of(study: Study, main: Networks, shared: np.ndarray) -> Control:
    """Return the change from K to 2K iterations, pooled over the cohorts."""
    needed = [[o for i, o in enumerate(networks) if i == 0 or o.run.header["controls"]] for networks in main]
    every = [o for networks in needed for o in networks]
    values = values_over(needed, partial(control_change, study, doubled_epsilons(every, shared)))
    none = Pooled(math.nan, math.inf, -math.inf, math.inf, None, None, 0.0, 0.0)
    kept = [bool(found and found.get("changes")) for found in map(doubling_of, every)]
    return Control(
        pooled_mean(values, study.plan["level"]) if values else none, values, any(map(doubling_of, every)), all(kept),
        counted_change(study, every)[1],
    )  # fmt: skip


def is_within(effect: Pooled, margin: float) -> bool:
    """Return whether the whole interval lies within ±margin."""
    return -margin < effect.low and effect.high < margin


def is_beyond(effect: Pooled, margin: float) -> bool:
    """Return whether the whole interval lies beyond the margin on one side."""
    return effect.low > margin or effect.high < -margin


def plateau(effects: dict[str, Pooled], control: Control, margin: float, planned: bool) -> str:
    """Return the verdict of question 3."""
    one, every, whole = (effects[name] for name in ("", "all_epsilons_", "from_first_"))
    shown = [one, every, *([control.effect] if control.values else [])]
    if any(is_beyond(effect, margin) for effect in shown) or whole.high < 0:
        return "contradicted"
    if not is_within(every, margin) or abs(one.estimate) >= margin or whole.low <= 0:
        return "undecided"
    if not control.ran:
        allowed = not planned
    elif not control.values and not planned:
        allowed = control.counted is not None and abs(control.counted) <= margin
    else:
        allowed = control.everywhere and bool(control.values) and is_within(control.effect, margin)
    return "supported" if allowed else "undecided"


def confidence_shift(plan: dict[str, Any], o: Outcomes, images: np.ndarray | None = None) -> Value | None:
    """Return ln of the ratio of ε50 above and below the threshold, a curve each; a bound where one lies outside.

    Null with fewer than 5 images on either side, and where nothing is known of the ratio.
    """
    above = o.confidence > plan["confidence_threshold"]
    every = np.ones(len(above), bool) if images is None else images
    if min((o.judged & every & side).sum() for side in (above, ~above)) < 5:
        return None
    high, low = (epsilon50(o, plan, every & side) for side in (above, ~above))
    if high.known is None or low.known is None:
        return None
    (top, bound), (bottom, opposite) = high.known, low.known
    inside = [e for e, of in ((high, bound), (low, opposite)) if of == 0]
    if len(inside) < 2:
        if bound == opposite:
            return None
        freedom = min((e.freedom for e in inside), default=1.0)
        variance = sum(e.variance for e in inside)
        return value_of(o, (top - bottom, variance, freedom + 1), high.images + low.images, bound or -opposite)
    names = np.union1d(high.names, low.names)
    moved = np.zeros(len(names))
    for e, sign in ((high, 1), (low, -1)):
        moved[np.searchsorted(names, e.names)] += sign * e.influences / np.sqrt(e.curve.rest)
    by_image = sum(e.curve.of_images(e.derivative) for e in (high, low))
    variance = max(by_image, float((moved**2).sum())) + high.shape + low.shape
    joint = (high.variance + low.variance) ** 2 / sum(e.variance**2 / e.freedom for e in (high, low))
    return value_of(o, (top - bottom, variance, joint + 1), high.images + low.images)


def step_beside_trend(plan: dict[str, Any], o: Outcomes) -> Value | None:
    """Return the shift of ln ε above the threshold beside a smooth trend in the logit of the confidence."""
    cell = categories(o, plan["success"], plan["dose"])
    known = o.confidence[o.judged]
    above = known > plan["confidence_threshold"]
    if min(above.sum(), (~above).sum()) < 5:
        return None
    clipped = np.clip(known, 1e-7, 1 - 1e-7)
    logit = np.log(clipped / (1 - clipped))
    columns = [above.astype(float), (logit - logit.mean()) / logit.std()]
    curve = fit_curve(np.log(o.epsilons), cell, o.patients[o.judged], np.column_stack(columns))
    return value_of(o, (float(curve.theta[4]), curve.variance(np.eye(len(curve.theta))[4]), curve.effective), len(cell))


def differ_by_a_shift(plan: dict[str, Any], o: Outcomes) -> bool:
    """Return whether one curve with a shift is as likely as two (p of the likelihood ratio at least 0.01)."""
    x, patients, cell = np.log(o.epsilons), o.patients[o.judged], categories(o, plan["success"], plan["dose"])
    above = o.confidence[o.judged] > plan["confidence_threshold"]

    def log_likelihood(curve: Curve) -> float:
        return float((curve.counts * np.log(curve.cells)).sum())

    one = log_likelihood(fit_curve(x, cell, patients, above[:, None].astype(float)))
    two = sum(log_likelihood(fit_curve(x, cell[side], patients[side])) for side in (above, ~above))
    return bool(chi2.sf(2 * (two - one), 3) >= 0.01)


def confidence(study: Study, main: Networks) -> Answer:
    """Question 4: shift of ln ε of the images above the threshold."""
    plan, level = study.plan, study.plan["level"]
    rows = []
    for o, *_ in main:
        value = confidence_shift(plan, o)
        low, high = value.interval(level) if value else (-math.inf, math.inf)
        printed = math.exp(value.value) if value and value.bound == 0 else None
        last = categories(o, plan["success"], plan["dose"]) < len(o.epsilons)
        above = o.confidence[o.judged] > plan["confidence_threshold"]
        rows.append(
            {"cohort": o.run.header["cohort"], "ratio": printed, "low": finite(math.exp(low)),
             "high": finite(math.exp(high)),
             "n_above": int(above.sum()), "n_below": int((~above).sum()), "rate_above": float(last[above].mean()),
             "rate_below": float(last[~above].mean()), "largest_epsilon": float(o.epsilons[-1]),
             "saturated": int(o.vanished[o.judged].sum()), "n": int(o.judged.sum()),
             "patients": len(np.unique(o.patients[o.judged]))}
        )  # fmt: skip
    values = values_over(main, partial(confidence_shift, plan))
    effect = pooled_mean(values, level)
    verdict = verdict_of(effect.low, effect.high, math.log(plan["margins"]["confidence"]))
    done = answer(effect, verdict, rows, sum(v.images for v in values), len(values), ratio=True, unit="")

    def pooled_again(of: Networks, statistic: Callable[[Outcomes], Value | None]) -> str:
        return ratio_text(pooled_mean(values_over(of, statistic), level))

    shift = partial(confidence_shift, plan)
    apart = [networks[0] for networks in main if not differ_by_a_shift(plan, networks[0])]
    named = ", ".join(o.run.header["cohort"] for o in apart)
    told = f"is not told: in {named} the" if apart else pooled_again(main, partial(step_beside_trend, plan))
    done.sentences["remarks"] = [told]
    if any(networks[0].vanished.any() for networks in main):
        done.sentences["remarks"].append(f"the ratio is {pooled_again(main, lambda o: shift(o, images=~o.vanished))}.")
    for arm in study.step_sizes:
        if arm != plan["arm"]:
            others = [[o] for o in study.main(arm, study.declared[arm])]
            done.sentences["remarks"].append(f"In attack arm {arm} (")
            done.sentences["remarks"].append(f"the ratio is {pooled_again(others, shift)}.")
    return done


def clean_accuracy(run: Run) -> float:
    """Return the share of images classified correctly, of those with a decision."""
    predicted = decisions(next(iter(run.logits.values()))[:, 0])
    return float((predicted == run.labels)[predicted >= 0].mean())


def training_size(study: Study) -> Answer | None:
    """Question 5: least squares of ln ε50 on log₂ size over networks, networks and patients crossed."""
    plan = study.plan
    runs = [r for r in study.runs if r.header["arm"] == plan["arm"]]
    sizes: dict[str, dict[int, set[int]]] = {}
    for r in runs:
        h = r.header
        sizes.setdefault(h["cohort"], {}).setdefault(h["train_size"], set()).add(h["seed"])
    series = {c for c, of in sizes.items() if len(of) >= 3 and max(map(len, of.values())) >= 2}
    if not series:
        return None
    attacked = [outcomes(r, study.step_sizes[plan["arm"]]) for r in runs if r.header["cohort"] in series]
    used = at_common_amplitudes(attacked)
    found = [epsilon50(o, plan) for o in used]
    bounds = np.array([{"inside": 0, "below": -1, "above": 1}[e.side] for e in found])
    size = np.log2([o.run.header["train_size"] for o in used])
    names = sorted(series)
    levels = [[float(o.run.header["cohort"] == c) for o in used] for c in names]
    design = np.column_stack([*levels, size])
    contrast = np.zeros(design.shape[1])
    contrast[-1] = max(np.ptp(size[np.array(of) > 0]) for of in levels)
    crossings = [crossing(o, e, plan) for o, e in zip(used, found, strict=True)]
    of_network = [
        Value(e.bounded, 0.01**2, 1, e.images, "", frozenset(), int(bound))
        for e, bound in zip(found, bounds, strict=True)
    ]
    networks = pool(of_network, design, contrast, plan["level"], 1)
    hat = np.linalg.pinv(design)
    weights = contrast @ hat
    everyone = sorted({name for e in found for name in e.names})
    influence = np.zeros((len(everyone), len(used)))
    for k, e in enumerate(found):
        if e.side == "inside":
            influence[np.searchsorted(everyone, e.names), k] = e.influences
    freedom = len(used) - design.shape[1]
    own = influence - influence @ (design @ hat)
    patients = ((influence @ weights) ** 2).sum() - (own**2 @ weights**2).sum() * len(used) / freedom
    error = math.sqrt(networks.error**2 + max(0.0, float(patients)))
    half = float(t.ppf((1 + plan["level"]) / 2, networks.freedom)) * error
    estimate = networks.estimate
    open_ = float(np.abs(weights) @ [of for _, of in crossings])
    shape = float(np.abs(weights) @ [0.0 if of else 0.03 * gap for gap, of in crossings])
    room = open_ + min(shape, 2 * math.pi * 0.03 * abs(estimate))
    low, high = estimate - half - room, estimate + half + room
    margin = math.log(plan["margins"]["training_size"])
    inside, outside = -margin <= low and high <= margin, low > margin or high < -margin
    verdict = "supported" if inside else "contradicted" if outside else "undecided"
    rows = [
        {"cohort": o.run.header["cohort"], "train_size": o.run.header["train_size"], "seed": o.run.header["seed"],
         "epsilon50": e.row["text"], "epsilon50_255": e.row["text_255"], "epsilon50_estimate": e.row["estimate"],
         "amplitudes": len(o.epsilons), "n": e.images, "patients": e.row["patients"],
         "clean_accuracy": clean_accuracy(o.run)}
        for o, e in zip(used, found, strict=True)
    ]  # fmt: skip
    p = float(2 * t.sf(max(abs(estimate) - room, 0.0) / error, networks.freedom))
    effect = Pooled(estimate, error, low, high, p, None, 0.0, networks.freedom)
    done = answer(effect, verdict, rows, sum(e.images for e in found), len(used), ratio=True, unit="")
    done.printed["i2"] = None
    return done


def at_common_amplitudes(networks: list[Outcomes]) -> list[Outcomes]:
    """Return the networks at the amplitudes that all of their cohort were attacked at, on their common images."""
    found = []
    for o in networks:
        others = [other for other in networks if other.run.header["cohort"] == o.run.header["cohort"]]
        if any(other.run.names != o.run.names for other in others):
            raise NotImplementedError("Networks of a series attacked on other images.")
        shared = shared_epsilons([[other] for other in others])
        kept = [i for i, e in enumerate(o.epsilons) if np.isclose(e, shared, rtol=1e-9, atol=0).any()]
        found.append(replace(o, epsilons=o.epsilons[kept], places=o.places[kept]))
    return found


def crossing(o: Outcomes, e: Epsilon50, plan: dict[str, Any]) -> tuple[float, float]:
    """Return the distance in ln ε of the amplitudes beside ε50, and how far off ε50 may be where no share tells it."""
    cell = categories(o, plan["success"], plan["dose"])
    shares = np.array([(cell <= k).mean() for k in range(len(o.epsilons))])
    at = int(np.argmax(shares >= 0.5))
    if e.side != "inside" or at == 0:
        return 0.0, 0.0
    below, above = np.log(o.epsilons[at - 1 : at + 1])
    told = shares[at - 1] > 0.1 or shares[at] < 0.9
    return above - below, 0.0 if told else max(above - e.log, e.log - below)


def conclusions(study: Study) -> list[Answer]:
    """Return the five conclusions with Holm's correction beside them."""
    main = study.networks(study.plan["arm"])
    asked = [
        amplitude(study, main), image_type(study, main), iterations(study, main), confidence(study, main),
        training_size(study),
    ]  # fmt: skip
    found = [one for one in asked if one is not None]
    limit = 1 - study.plan["level"]
    tested = {number: p for number, one in enumerate(found, start=1) if number in (1, 2, 4)
              and (p := one.pooled.p) is not None}  # fmt: skip
    adjusted = dict(zip(tested, holm(tested.values()), strict=True))
    for number, one in enumerate(found, start=1):
        p = adjusted.get(number)
        undone = p is not None and (one.pooled.low > 0 or one.pooled.high < 0) and p > limit
        one.printed.update({
            "p_holm": p, "verdict_holm": "undecided" if undone else one.printed["verdict"],
            "arm": study.plan["arm"], "step_size": study.step_sizes[study.plan["arm"]], "level": study.plan["level"],
        })  # fmt: skip
    return found


# ------------------------------------------------------------------------------------------------ every number


@dataclass(frozen=True)
class Number:
    """A number of the report: where it stands in the JSON, and what it is by the recomputation."""

    path: tuple[str | int, ...]
    value: Any
    tolerance: float
    """Relative; 0 = exactly (counts, verdicts, texts)."""
    within: bool = False
    """The value is part of a printed sentence."""


EXACT = 1e-9
FITTED = 2e-3
"""Two optimisers do not end at the same digit."""


def numbers(store: Path, report: dict[str, Any]) -> list[Number]:
    """Return every number of the curves, of ε50 and of the conclusions, recomputed from the store."""
    study = read_study(store)
    return [
        *rate_numbers(study, report), *performance_numbers(study, report), *epsilon50_numbers(study, report),
        *conclusion_numbers(study, report),
    ]  # fmt: skip


def in_table(
    report: dict[str, Any], table: str, keys: tuple[str, ...], rows: list[dict[str, Any]], tolerance: float
) -> list[Number]:
    """Return the numbers of a table whose rows are told apart by `keys`; every row of it must be recomputed."""
    columns, printed = report["tables"][table]["columns"], report["tables"][table]["rows"]
    at = {tuple(row[columns.index(k)] for k in keys): i for i, row in enumerate(printed)}
    assert set(at) == {tuple(row[k] for k in keys) for row in rows}, f"{table}: not the same rows"
    return [
        Number(("tables", table, "rows", at[tuple(row[k] for k in keys)], columns.index(name)), value,
               0.0 if isinstance(value, (int, str)) or value is None else tolerance)
        for row in rows
        for name, value in row.items()
        if name not in keys
    ]  # fmt: skip


def rate_numbers(study: Study, report: dict[str, Any]) -> list[Number]:
    """Return the success rates of every curve with their intervals."""
    level, arm, reading = study.plan["level"], study.plan["arm"], study.plan["success"]
    stated = {"success": reading, "level": level}
    by_arm, by_iteration, by_size = [], [], []
    series = {r.header["cohort"] for r in study.runs if not r.header["full"]}
    for run in study.runs:
        h = run.header
        about = {"cohort": h["cohort"], "arm": h["arm"], "train_size": h["train_size"], "seed": h["seed"]}
        for step_size in sorted({s for s, _ in run.logits}):
            o = outcomes(run, step_size)
            for success in ("last", "any") if h["primary"] else ():
                rates = rates_of(run, o.patients, o.at(success), o.decided, level)
                of_size = about | {"step_size": step_size, "success": success, "level": level}
                by_arm += [of_size | {"epsilon": float(e)} | rate
                           for e, rate in zip(o.grid, rates, strict=True)]  # fmt: skip
            if step_size != study.step_sizes[h["arm"]]:
                continue
            at = int(np.abs(o.grid - study.epsilon).argmin())
            if h["cohort"] in series and h["arm"] == arm:
                rate = rates_of(run, o.patients, o.at(reading)[[at]], o.decided[[at]], level)[0]
                by_size.append(about | stated | {"epsilon": float(o.grid[at])} | rate)
            for k, e in enumerate(o.grid) if h["primary"] else ():
                whole = np.repeat(o.decided[[k]], h["steps"], axis=0)
                so_far = np.logical_or.accumulate(o.wrong[k, 1:], axis=0) if reading == "any" else o.wrong[k, 1:]
                rates = rates_of(run, o.patients, so_far, whole, level)
                by_iteration += [
                    about | stated | {"epsilon": float(e), "step": j} | rate for j, rate in enumerate(rates, start=1)
                ]
    decisive = (reading, arm, study.step_sizes[arm])
    main = [row for row in by_arm if (row["success"], row["arm"], row["step_size"]) == decisive]
    point, network = ("cohort", "arm", "step_size", "epsilon"), ("cohort", "train_size", "seed")
    return [
        *in_table(report, "success_by_arm", (*point, "success"), by_arm, EXACT),
        *in_table(report, "success_by_epsilon", point, main, EXACT),
        *in_table(report, "success_by_iteration", ("cohort", "arm", "epsilon", "step"), by_iteration, EXACT),
        *(in_table(report, "success_by_training_size", network, by_size, EXACT) if series else ()),
    ]


def performance_numbers(study: Study, report: dict[str, Any]) -> list[Number]:
    """Return what each main network still does, clean and at the last iterate of every ε, of the deciding arm."""
    rows = []
    for o in study.main(study.plan["arm"], study.step_sizes[study.plan["arm"]]):
        run, h = o.run, o.run.header
        states = [(0.0, run.logits[o.step_size, float(o.grid[0])][:, 0])]
        states += [(float(e), run.logits[o.step_size, float(e)][:, -1]) for e in o.grid]
        predicted = np.stack([decisions(logits) for _, logits in states])
        right, decided = predicted == run.labels, predicted >= 0
        rates = rates_of(run, run.patients, right, decided, study.plan["level"])
        for i, ((epsilon, logits), rate) in enumerate(zip(states, rates, strict=True)):
            known = decided[i]
            scores = scores_of(logits[known], run.labels[known], h["class_names"].index(h["positive"]))
            interval = {k: rate[k] for k in ("n", "patients", "low", "high", "method")}
            rows.append(
                {"cohort": h["cohort"], "arm": h["arm"], "step_size": o.step_size, "epsilon": epsilon,
                 "level": study.plan["level"], "accuracy": rate["rate"]} | interval | scores
            )  # fmt: skip
    return in_table(report, "performance", ("cohort", "arm", "step_size", "epsilon"), rows, EXACT)


def scores_of(logits: np.ndarray, labels: np.ndarray, positive: int) -> dict[str, float | None]:
    """Return AUROC, sensitivity, specificity, balanced accuracy and expected calibration error."""
    exponential = np.exp(logits.astype(float) - logits.max(1, keepdims=True))
    probability, right = exponential / exponential.sum(1, keepdims=True), decisions(logits) == labels
    classes = probability.shape[1]
    two = classes == 2
    areas = []
    for c in [positive] if two else range(classes):
        own, rest = probability[labels == c, c][:, None], probability[labels != c, c][None, :]
        areas.append(((own > rest) + (own == rest) / 2).mean())
    recalls = [float(right[labels == c].mean()) for c in range(classes)]
    largest = probability.max(1)
    bins = np.clip(np.ceil(np.round(largest * 15, 9)).astype(int) - 1, 0, 14)
    gaps = np.bincount(bins, right - largest, 15)
    return {
        "auroc": float(np.mean(areas)), "sensitivity": recalls[positive] if two else None,
        "specificity": recalls[1 - positive] if two else None, "balanced_accuracy": float(np.mean(recalls)),
        "ece": float(np.abs(gaps).sum() / len(labels)),
    }  # fmt: skip


def epsilon50_numbers(study: Study, report: dict[str, Any]) -> list[Number]:
    """Return ε50 of every main network under every arm."""
    stated = {name: study.plan[name] for name in ("success", "dose", "level")}
    rows = [
        {"cohort": o.run.header["cohort"], "arm": arm, "step_size": o.step_size} | stated | epsilon50(o, study.plan).row
        for arm in study.declared
        for o in study.main(arm, study.step_sizes[arm])
    ]
    return in_table(report, "epsilon50", ("cohort", "arm", "step_size"), rows, FITTED)


def conclusion_numbers(study: Study, report: dict[str, Any]) -> list[Number]:
    """Return what is printed of the five conclusions: on the cards, in the table, and cohort by cohort."""
    found: list[Number] = []
    table = report["tables"]["conclusions"]
    for i, one in enumerate(conclusions(study)):
        for name, value in one.printed.items():
            tolerance = FITTED if isinstance(value, float) else 0.0
            found.append(Number(("conclusions", i, name), value, tolerance))
            found.append(Number(("tables", "conclusions", "rows", i, table["columns"].index(name)), value, tolerance))
        for name, parts in one.sentences.items():
            found += [Number(("conclusions", i, name), part, 0.0, within=True) for part in parts]
        details = report["conclusions"][i]["details"]
        keys = ("cohort", "train_size", "seed") if i == 4 else ("cohort",)
        at = {tuple(row[k] for k in keys): j for j, row in enumerate(details)}
        assert set(at) == {tuple(row[k] for k in keys) for row in one.rows}, f"conclusion {i + 1}: not the same rows"
        for row in one.rows:
            place = ("conclusions", i, "details", at[tuple(row[k] for k in keys)])
            found += [
                Number((*place, name), value, FITTED if isinstance(value, (float, np.floating)) else 0.0)
                for name, value in row.items()
                if name not in keys
            ]
    return found


def look_up(report: Any, path: tuple[str | int, ...]) -> Any:
    """Return what stands at this place of the report."""
    for part in path:
        report = report[part]
    return report


def disagreements(report: dict[str, Any], expected: Iterable[Number]) -> list[str]:
    """Return a line for every number of the report that is not the recomputed one."""
    found = []
    for number in expected:
        printed = look_up(report, number.path)
        if not agrees(printed, number):
            found.append(f"{'/'.join(map(str, number.path))}: printed {printed!r}, recomputed {number.value!r}")
    return found


def agrees(printed: Any, number: Number) -> bool:
    """Return whether a printed number is the recomputed one."""
    if number.within:
        return number.value in (printed if isinstance(printed, str) else "\n".join(printed))
    if number.tolerance == 0.0 or printed is None:
        return bool(printed == number.value) and (printed is None) == (number.value is None)
    return math.isclose(printed, number.value, rel_tol=number.tolerance, abs_tol=1e-12)
