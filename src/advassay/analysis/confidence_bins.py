"""Bins of the clean confidence: ten equal ones over [0.5, 1.0] or from chance, 1/classes, on; the last closed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

BELOW = "below 0.5"


def labels(classes: int, from_chance: bool = False) -> list[str]:
    """Names of the bins, rising; over [0.5, 1] with more than two classes the first one is `below 0.5`.

    >>> labels(2)[-1], labels(4)[0], labels(4, from_chance=True)[0]
    ('[0.95, 1.00]', 'below 0.5', '[0.25, 0.33)')
    """
    edges = _edges(classes, from_chance)
    names = [f"[{a:.2f}, {b:.2f})" for a, b in pairwise(edges)]
    names[-1] = names[-1][:-1] + "]"
    return names if classes == 2 or from_chance else [BELOW, *names]


def edges(classes: int, from_chance: bool = False) -> list[tuple[float, float]]:
    """(low, high) of each bin of `labels`."""
    pairs = [(float(round(a, 12)), float(round(b, 12))) for a, b in pairwise(_edges(classes, from_chance))]
    return pairs if classes == 2 or from_chance else [(0.0, 0.5), *pairs]


def _edges(classes: int, from_chance: bool) -> np.ndarray:
    return np.linspace(1 / classes if from_chance else 0.5, 1.0, 11)


def members(confidence: np.ndarray, classes: int, from_chance: bool = False) -> np.ndarray:
    """(bin, image) bool; confidence float64 (softmax in float64). Rounding at 1e-12 keeps 0.65 in [0.65, 0.70).

    >>> [int(column.argmax()) for column in members(np.array([0.5, 0.55, 0.949999, 0.95, 1.0]), 2).T]
    [0, 1, 8, 9, 9]
    """
    value = np.round(confidence, 12)
    pairs = edges(classes, from_chance)
    return np.stack([(value >= a) & ((value < b) | (b == 1.0) & (value <= 1.0)) for a, b in pairs])
