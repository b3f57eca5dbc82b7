"""Bins of the clean confidence: ten equal ones over [0.5, 1.0], the last closed, and what lies below apart."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

EDGES = np.linspace(0.5, 1.0, 11)
BELOW = "below 0.5"


def labels(classes: int) -> list[str]:
    """Names of the bins, rising; with more than two classes the first one is `below 0.5`."""
    names = [f"[{a:.2f}, {b:.2f})" for a, b in pairwise(EDGES)]
    names[-1] = names[-1][:-1] + "]"
    return names if classes == 2 else [BELOW, *names]


def edges(classes: int) -> list[tuple[float, float]]:
    """(low, high) of each bin of `labels`."""
    pairs = [(float(round(a, 12)), float(round(b, 12))) for a, b in pairwise(EDGES)]
    return pairs if classes == 2 else [(0.0, 0.5), *pairs]


def members(confidence: np.ndarray, classes: int) -> np.ndarray:
    """(bin, image) bool; confidence float64 (softmax in float64). Rounding at 1e-12 keeps 0.65 in [0.65, 0.70).

    >>> [int(column.argmax()) for column in members(np.array([0.5, 0.55, 0.949999, 0.95, 1.0]), 2).T]
    [0, 1, 8, 9, 9]
    """
    value = np.round(confidence, 12)
    return np.stack([(value >= a) & ((value < b) | (b == 1.0) & (value <= 1.0)) for a, b in edges(classes)])
