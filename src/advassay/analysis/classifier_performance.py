"""How well the classifier does its clinical job, clean and under each ε: accuracy, AUROC, calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from advassay import success
from advassay import success as _success
from advassay.analysis.confidence_shift import about
from advassay.analysis.intervals import Counts, counts, intervals
from advassay.analysis.outcome_arrays import ONE_STEP_SIZE, OutcomeArrays, packs_of
from advassay.errors import SpecError
from advassay.records.store_reader import Records

BINS = 15
"""Equal-width bins over [0, 1], as the source has them."""


def reliability(
    records: Records, *, arm: str | None = None, step_size: str | None = None, epsilon: float | None = None,
    bins: int = BINS, level: float = 0.95,
) -> pl.DataFrame:  # fmt: skip
    """Reliability table, clean (ε = 0) and at the last iterate of every ε (or of `epsilon` alone).

    Columns: cohort, image_type, arm, step_size, epsilon, bin_low, bin_high, confidence (mean of the bin), accuracy
    with low, high, n, patients, method; ece (the expected calibration error of the cohort at that ε, repeated), bins.
    `bins` equal-width bins over [0, 1] of the largest probability, (low, high] but for the first, closed; empty ones
    are left out. All attacked images. Raises SpecError for step_size="any" and for an ε that was not attacked.
    """
    if step_size == "any":
        raise SpecError('step_size: calibration needs one recorded step size, got "any".', ONE_STEP_SIZE)
    packs = packs_of(records, arm, step_size)
    return pl.DataFrame([row for p in packs for row in _tables(p, epsilon, bins, level)], infer_schema_length=None)


def calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error: Σ over bins of (share of images) · |accuracy − mean confidence|, in [0, 1].

    `confidence` (image,) in [0, 1], `correct` (image,) bool; NaN without images.

    >>> round(calibration_error(np.array([0.9, 0.9, 0.9, 0.9]), np.array([1, 1, 1, 0], bool)), 3)
    0.15
    """
    if not len(confidence):
        return float("nan")
    at = members(confidence, bins)
    gaps = np.bincount(at, correct.astype(np.float64) - confidence, bins)
    return float(np.abs(gaps).sum() / len(confidence))


def members(confidence: np.ndarray, bins: int) -> np.ndarray:
    """(image,) index of each image's bin; bins are (low, high], the first closed."""
    return np.clip(np.ceil(np.round(confidence * bins, 9)).astype(np.int64) - 1, 0, bins - 1)


@dataclass(frozen=True)
class _State:
    """The network's confidence at one ε, of the images with a decision there."""

    epsilon: float
    kept: np.ndarray
    confidence: np.ndarray
    correct: np.ndarray
    bin: np.ndarray


def _tables(pack: OutcomeArrays, epsilon: float | None, bins: int, level: float) -> list[dict[str, Any]]:
    which = list(range(len(pack.epsilons))) if epsilon is None else [pack.at(epsilon)]
    states = [_state(pack, 0.0, pack.clean_logits, np.ones(len(pack.labels), bool), bins)]
    states += [_state(pack, float(pack.epsilons[i]), pack.final_logits[i], pack.present[i], bins) for i in which]
    cells = [(state, int(b)) for state in states for b in np.unique(state.bin)]
    if not cells:
        return []
    counted = [_counted(pack, state, bins) for state in states]
    place = {id(state): k for k, state in enumerate(states)}
    events, images = (
        np.stack([getattr(counted[place[id(s)]], name)[b] for s, b in cells]) for name in ("events", "images")
    )
    points = Counts(events, images)
    low, high, method = intervals(points, level)  # all at once: one set of resampled patients
    return [
        about(pack) | {
            "epsilon": state.epsilon, "bin_low": b / bins, "bin_high": (b + 1) / bins,
            "confidence": float(state.confidence[state.bin == b].mean()), "accuracy": float(points.rate[i]),
            "low": float(low[i]), "high": float(high[i]), "n": int(points.n[i]), "patients": int(points.patients[i]),
            "method": method[i], "ece": calibration_error(state.confidence, state.correct, bins), "bins": bins,
        }
        for i, (state, b) in enumerate(cells)
    ]  # fmt: skip


def _state(pack: OutcomeArrays, epsilon: float, logits: np.ndarray, present: np.ndarray, bins: int) -> _State:
    kept = present & ~np.isnan(logits).any(axis=-1)
    confidence = _success.confidence(logits[kept])
    correct = _success.predicted(logits[kept]) == pack.labels[kept]
    return _State(epsilon, kept, confidence, correct, members(confidence, bins))


def _counted(pack: OutcomeArrays, state: _State, bins: int) -> Counts:
    """Counts of (bin, patient)."""
    number = len(pack.patient_ids)
    code = state.bin * number + pack.patients[state.kept]
    images = np.bincount(code, minlength=bins * number).reshape(bins, number)
    events = np.bincount(code[state.correct], minlength=bins * number).reshape(bins, number)
    return Counts(events.astype(np.float64), images.astype(np.float64))


def performance(
    records: Records, *, arm: str | None = None, step_size: str | None = None, level: float = 0.95
) -> pl.DataFrame:
    """Scores on all attacked images with a decision, clean (ε = 0) and at the last iterate of every ε.

    Columns: cohort, image_type, arm, step_size, epsilon, n, patients, accuracy with low, high and method, auroc,
    sensitivity, specificity, balanced_accuracy, ece (expected calibration error, see `reliability`). Sensitivity is
    the recall of the cohort's positive class, specificity that of all others together (two classes only, else null);
    balanced accuracy is the mean recall.

    Raises SpecError for `step_size="any"`: the worst of several step sizes has verdicts but no logits of its own.
    """
    if step_size == "any":
        raise SpecError('step_size: performance needs one recorded step size, got "any".', ONE_STEP_SIZE)
    rows = [row for pack in packs_of(records, arm, step_size) for row in _rows(pack, level)]
    return pl.DataFrame(rows, infer_schema_length=None)


def _rows(pack: OutcomeArrays, level: float) -> list[dict[str, Any]]:
    clean = (0.0, pack.clean_logits, np.ones(len(pack.labels), bool))
    attacked = [(float(e), pack.final_logits[i], pack.present[i]) for i, e in enumerate(pack.epsilons)]
    # A NaN logit is no decision: such an image is neither right nor wrong.
    states = [(e, logits, there & ~np.isnan(logits).any(axis=1)) for e, logits, there in (clean, *attacked)]
    correct = np.stack([success.predicted(logits) == pack.labels for _, logits, _ in states])
    decided = np.stack([there for _, _, there in states])
    points = counts(correct, decided, pack.patients, len(pack.patient_ids))
    low, high, method = intervals(points, level)  # all at once: one set of resampled patients
    return [
        about(pack)
        | {
            "epsilon": epsilon, "n": int(points.n[i]), "patients": int(points.patients[i]),
            "accuracy": float(points.rate[i]), "low": float(low[i]), "high": float(high[i]), "method": method[i],
        }
        | _scores(pack, logits[there], pack.labels[there], correct[i, there])
        for i, (epsilon, logits, there) in enumerate(states)
    ]  # fmt: skip


def _scores(pack: OutcomeArrays, logits: np.ndarray, labels: np.ndarray, correct: np.ndarray) -> dict[str, Any]:
    names = pack.header.class_names
    positive = names.index(pack.header.positive) if pack.header.positive in names else 0
    two = len(names) == 2
    recalls = [_share(correct[labels == label]) for label in range(len(names))]
    known = [recall for recall in recalls if recall is not None]
    return {
        "auroc": auroc(logits, labels, positive),
        "sensitivity": recalls[positive] if two else None,
        "specificity": recalls[1 - positive] if two else None,
        "balanced_accuracy": sum(known) / len(known) if known else None,
        "ece": calibration_error(success.confidence(logits), correct) if len(logits) else None,
    }


def _share(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def auroc(logits: np.ndarray, labels: np.ndarray, positive: int = 0) -> float | None:
    """Area under the ROC curve; two classes: of `positive`; more: mean of each class against the rest.

    `logits` (image, class), `labels` (image,). The Mann–Whitney form (Hanley & McNeil 1982), ties count half.
    None where a class is absent or a logit is NaN.

    >>> auroc(np.array([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), np.array([0, 0, 1]))
    1.0
    """
    if not len(labels) or np.isnan(logits).any():
        return None
    probability = success.probabilities(logits)
    classes = [positive] if logits.shape[1] == 2 else range(logits.shape[1])
    areas = [_area(probability[:, c], labels == c) for c in classes]
    known = [area for area in areas if area is not None]
    return float(np.mean(known)) if len(known) == len(areas) else None


def _area(score: np.ndarray, positive: np.ndarray) -> float | None:
    p, n = int(positive.sum()), int((~positive).sum())
    if not p or not n:
        return None
    ranks = stats.rankdata(score)
    return float((ranks[positive].sum() - p * (p + 1) / 2) / (p * n))


def chance_reach(sizes: list[float], z: float = 1.96) -> float:
    """How far from 0.5 chance alone takes an AUROC in 95 of 100 cohorts with these sizes of classes.

    z · √((p + q + 1) / 12pq), the exact variance of Mann and Whitney's statistic where scores say nothing (Mann &
    Whitney 1947); more than two classes: the mean over classes, each against the rest, which is on the wide side.
    Sizes are patients' worth of images, on the wide side too: better one notice too many than one too few.

    >>> round(chance_reach([50, 50]), 3), round(chance_reach([4, 4]), 3)
    (0.114, 0.424)
    """
    whole = sum(sizes)
    pairs = [(p, whole - p) for p in (sizes[:1] if len(sizes) == 2 else sizes) if 0 < p < whole]
    reaches = [z * math.sqrt((whole + 1) / (12 * p * q)) for p, q in pairs]
    return sum(reaches) / len(reaches) if reaches else math.nan


# ---- the interval of an AUROC that is known only as a number, with the sizes of the classes --------------------------

HALVINGS = 60
"""Halvings of [0, 1]: far below the last printed digit."""


def auroc_interval(area: float, sizes: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """(low, high) of an AUROC `area` in [0, 1], both in [0, 1]; never of width 0, also where the area is 1.

    Two `sizes` are the numbers of positive and negative images, or of patients where several images are one patient's.
    More are the sizes of classes whose areas, each against the rest, were averaged: the interval is then the mean of
    those that each class alone would give, which is on the wide side, since a mean varies no more than its parts do on
    average. A class without images tells nothing: (0, 1).

    Method 5 of Newcombe 2006 (Statistics in Medicine 25:559–573): the area A lies within z standard errors of each
    bound θ, with the variance of Hanley and McNeil (1982) at θ, smoothed over the two classes,
    θ(1 − θ) · (1 + N·((1 − θ)/(2 − θ) + θ/(1 + θ))) / mn, where N = (m + n)/2 − 1.

    >>> low, high = auroc_interval(0.9, (50, 50))
    >>> round(low, 3), round(high, 3)
    (0.816, 0.946)
    """
    if not 0 <= area <= 1:
        raise ValueError(f"area: expected a number in [0, 1], got {area}.")
    whole = sum(sizes)
    pairs = [(size, whole - size) for size in (sizes[:1] if len(sizes) == 2 else sizes)]
    z = NormalDist().inv_cdf((1 + level) / 2)
    ends = [_ends(area, positive, negative, z) for positive, negative in pairs]
    if not ends:
        return 0.0, 1.0
    return sum(low for low, _ in ends) / len(ends), sum(high for _, high in ends) / len(ends)


def _ends(area: float, positive: float, negative: float, z: float) -> tuple[float, float]:
    if positive < 1 or negative < 1:
        return 0.0, 1.0
    return _bound(area, 0.0, positive, negative, z), _bound(area, 1.0, positive, negative, z)


def _bound(area: float, end: float, positive: float, negative: float, z: float) -> float:
    """The θ between `area` and `end` that is z of its own standard errors away from the area."""
    inside, outside = area, end
    for _ in range(HALVINGS):
        middle = (inside + outside) / 2
        if abs(middle - area) <= z * _standard_error(middle, positive, negative):
            inside = middle
        else:
            outside = middle
    return (inside + outside) / 2


def _standard_error(area: float, positive: float, negative: float) -> float:
    smoothed = (positive + negative) / 2 - 1
    spread = 1 + smoothed * ((1 - area) / (2 - area) + area / (1 + area))
    return math.sqrt(max(area * (1 - area) * spread, 0.0) / (positive * negative))
