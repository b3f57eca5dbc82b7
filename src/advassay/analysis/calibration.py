"""Calibration: does a confidence of 0.9 mean right nine times in ten, clean and under attack?

Source: Guo, Pleiss, Sun & Weinberger, ICML 2017 (arXiv 1706.04599): reliability diagram and expected calibration
error over equal-width bins of the largest probability.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from advassay import success as _success
from advassay.analysis.flow import about
from advassay.analysis.intervals import Counts, intervals
from advassay.analysis.packed import ONE_STEP_SIZE, Packed
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


def _tables(pack: Packed, epsilon: float | None, bins: int, level: float) -> list[dict[str, Any]]:
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


def _state(pack: Packed, epsilon: float, logits: np.ndarray, present: np.ndarray, bins: int) -> _State:
    kept = present & ~np.isnan(logits).any(axis=-1)
    confidence = _success.confidence(logits[kept])
    correct = _success.predicted(logits[kept]) == pack.labels[kept]
    return _State(epsilon, kept, confidence, correct, members(confidence, bins))


def _counted(pack: Packed, state: _State, bins: int) -> Counts:
    """Counts of (bin, patient)."""
    number = len(pack.patient_ids)
    code = state.bin * number + pack.patients[state.kept]
    images = np.bincount(code, minlength=bins * number).reshape(bins, number)
    events = np.bincount(code[state.correct], minlength=bins * number).reshape(bins, number)
    return Counts(events.astype(np.float64), images.astype(np.float64))
