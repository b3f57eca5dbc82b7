"""Where success breaks over the clean confidence: one rate up to a point, another beyond it.

The breakpoint is the candidate with the largest binomial likelihood (Hinkley, Biometrika 57 (1970), a change point in
a sequence of independent variables); its interval is the percentiles of the same estimate over resampled patients.
A breakpoint is always found, also where there is none: read it beside the drop and its interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import xlogy

from advassay.analysis.intervals import REPLICATES

STEP = 0.01
"""Candidates lie this far apart."""
FEWEST = 5
"""Images on each side of a candidate."""


@dataclass(frozen=True)
class Breakpoint:
    """success = `below` for confidence ≤ at, `above` beyond."""

    at: float
    low: float
    high: float
    below: float
    above: float
    n: int


def breakpoint(
    confidence: np.ndarray, fallen: np.ndarray, patients: np.ndarray, classes: int = 2, level: float = 0.95,
    seed: int = 0,
) -> Breakpoint | None:  # fmt: skip
    """`confidence` (image,) in [1/classes, 1], `fallen` (image,) bool, `patients` (image,) codes, attackable images.

    Candidates: 1/classes + 0.01, … up to 0.99. None where no candidate has 5 images on each side, or where the two
    rates are equal (nobody or everybody has fallen).
    """
    if fallen.all() or not fallen.any():
        return None
    edges = np.round(np.arange(1 / classes + STEP, 1 - STEP / 2, STEP), 10)
    events, images = _by_patient(confidence, fallen, patients, edges)
    whole = images.sum(0)[None], events.sum(0)[None]
    usable = _usable(whole[0])[0]
    if not usable.any():
        return None
    best = int(_best(whole[1], whole[0])[0])
    down, up = confidence <= edges[best], confidence > edges[best]
    drawn = _resampled(events, images, seed)
    low, high = np.percentile(edges[drawn], [50 * (1 - level), 50 * (1 + level)]) if drawn.size else (np.nan, np.nan)
    return Breakpoint(
        float(edges[best]), float(low), float(high), float(fallen[down].mean()), float(fallen[up].mean()), len(fallen)
    )


def _by_patient(
    confidence: np.ndarray, fallen: np.ndarray, patients: np.ndarray, edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Events and images (patient, interval between candidates), int64; intervals are (low, high]."""
    at = np.searchsorted(edges, confidence, side="left")
    number = int(patients.max(initial=-1)) + 1
    code, size = patients.astype(np.int64) * (len(edges) + 1) + at, number * (len(edges) + 1)
    images = np.bincount(code, minlength=size).reshape(number, len(edges) + 1)
    events = np.bincount(code[fallen], minlength=size).reshape(number, len(edges) + 1)
    kept = images.any(1)
    return events[kept], images[kept]


def _usable(images: np.ndarray) -> np.ndarray:
    """(…, candidate) bool from images (…, interval)."""
    below = np.cumsum(images, axis=-1)[..., :-1]
    return np.minimum(below, images.sum(-1, keepdims=True) - below) >= FEWEST


def _best(events: np.ndarray, images: np.ndarray) -> np.ndarray:
    """(sample,) index of the likeliest candidate from events and images (sample, interval); −1 without a candidate."""
    e, n = (np.cumsum(x, axis=1)[:, :-1] for x in (events, images))
    gain = _likelihood(e, n) + _likelihood(events.sum(1, keepdims=True) - e, images.sum(1, keepdims=True) - n)
    gain = np.where(_usable(images), gain, -np.inf)
    return np.where(np.isfinite(gain).any(1), gain.argmax(1), -1)


def _likelihood(events: np.ndarray, images: np.ndarray) -> np.ndarray:
    rate = np.divide(events, images, out=np.zeros(events.shape), where=images > 0)
    return np.asarray(xlogy(events, rate) + xlogy(images - events, 1 - rate))


def _resampled(events: np.ndarray, images: np.ndarray, seed: int) -> np.ndarray:
    """Indices of the best candidate over resamples of patients; those without one are left out."""
    rng = np.random.default_rng(seed)
    patients = len(images)
    chunk = max(1, min(REPLICATES, 10_000_000 // max(patients, 1)))
    found = []
    for start in range(0, REPLICATES, chunk):
        rows = min(chunk, REPLICATES - start)
        drawn = rng.integers(0, patients, (rows, patients)) + np.arange(rows)[:, None] * patients
        weights = np.bincount(drawn.ravel(), minlength=rows * patients).reshape(rows, patients).astype(np.float32)
        found.append(_best(weights @ events.astype(np.float32), weights @ images.astype(np.float32)))
    best = np.concatenate(found)
    return best[best >= 0]
