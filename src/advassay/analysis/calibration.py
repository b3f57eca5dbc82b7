"""Calibration: does a confidence of 0.9 mean right nine times in ten, clean and under attack?

Source: Guo, Pleiss, Sun & Weinberger, ICML 2017 (arXiv 1706.04599): reliability diagram and expected calibration
error over equal-width bins of the largest probability.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from advassay import success as _success
from advassay.analysis.flow import about
from advassay.analysis.intervals import counts, intervals
from advassay.analysis.packed import Packed
from advassay.analysis.selection import packs_of
from advassay.errors import SpecError
from advassay.records.store import Records

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
        raise SpecError('step_size: calibration needs one recorded step size, got "any".')
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


def _tables(pack: Packed, epsilon: float | None, bins: int, level: float) -> list[dict[str, Any]]:
    which = list(range(len(pack.epsilons))) if epsilon is None else [pack.at(epsilon)]
    states = [(0.0, pack.clean_logits, np.ones(len(pack.labels), bool))]
    states += [(float(pack.epsilons[i]), pack.final_logits[i], pack.present[i]) for i in which]
    return [
        about(pack) | {"epsilon": e} | row
        for e, logits, present in states
        for row in _table(pack, logits, present, bins, level)
    ]


def _table(pack: Packed, logits: np.ndarray, present: np.ndarray, bins: int, level: float) -> list[dict[str, Any]]:
    kept = present & ~np.isnan(logits).any(axis=-1)
    confidence = _success.confidence(logits[kept])
    correct = _success.predicted(logits[kept]) == pack.labels[kept]
    at = members(confidence, bins)
    used = np.unique(at)
    inside = at[None, :] == used[:, None]
    points = counts(np.broadcast_to(correct, inside.shape), inside, pack.patients[kept])
    low, high, method = intervals(points, level)
    error = calibration_error(confidence, correct, bins)
    return [
        {
            "bin_low": int(b) / bins, "bin_high": (int(b) + 1) / bins,
            "confidence": float(confidence[inside[i]].mean()), "accuracy": float(points.rate[i]),
            "low": float(low[i]), "high": float(high[i]), "n": int(points.n[i]), "patients": int(points.patients[i]),
            "method": method[i], "ece": error, "bins": bins,
        }
        for i, b in enumerate(used)
    ]  # fmt: skip
