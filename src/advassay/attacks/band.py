"""The band around the decision boundary inside which a steered verdict is not trusted. It only ever widens."""

from __future__ import annotations

from heapq import heappop, heappush

import numpy as np

WARM_UP = 32
"""Compared iterates before any steered verdict is trusted."""
NEAREST = 16
"""Of those, the ones nearest to the boundary that the first band is taken from."""
WIDENING = 2.0
"""The band is this many times the largest error seen near the boundary …"""
NEAR = 4.0
"""… where near means this many bands."""


class Band:
    """Learns from (|steered margin|, error) of compared iterates, in logits; `width` is infinite until WARM_UP.

    Two errors count: every one seen within NEAR bands of the boundary (errors grow with the margin, so those further
    out say little about it), and wherever it was seen an error that reached the boundary, |error| ≥ |margin|: that
    verdict could have flipped. Each iterate is put in and taken out once: O(log n).

    >>> band = Band()
    >>> for _ in range(WARM_UP): band.learn(0.1, 0.02)
    >>> band.learn(30.0, 1.0)  # far away, and nowhere near flipping
    >>> band.width
    0.04
    >>> band.learn(0.3, 0.35)
    >>> band.width
    0.7
    """

    def __init__(self) -> None:
        self.width = float("inf")
        self.largest = 0.0
        self._first: list[tuple[float, float]] = []
        self._far: list[tuple[float, float]] = []
        self._ready = False

    def learn(self, margin: float, error: float) -> None:
        """Take in one comparison; an error that is not a number is taken as without bound."""
        error = error if error == error else float("inf")
        self.largest = max(self.largest, error)
        if self._ready:
            self._take(margin, error)
            return
        self._first.append((margin, error))
        if len(self._first) >= WARM_UP:
            nearest = sorted(self._first)[:NEAREST]
            self.width, self._ready = WIDENING * max(e for _, e in nearest), True
            for seen in self._first:
                self._take(*seen)

    def _take(self, margin: float, error: float) -> None:
        if error >= margin:
            self._widen(error)
        heappush(self._far, (margin, error))
        while self._far and self._far[0][0] <= NEAR * self.width:
            self._widen(heappop(self._far)[1])

    def _widen(self, error: float) -> None:
        self.width = max(self.width, WIDENING * error)


class Left:
    """Counts the steered iterates that left in finished blocks, to say how many a wider band later reaches."""

    EDGES = 2.0 ** (np.arange(-160, 161) / 8)
    """|margin| from 1e-6 to 1e6 logits, eight classes an octave."""

    def __init__(self) -> None:
        self._counts: dict[float, np.ndarray] = {}

    def add(self, margins: np.ndarray, width: float) -> None:
        """`margins`: |margin| of unscored iterates (n,), all outside a band of this width when they left."""
        found = np.bincount(np.searchsorted(self.EDGES, margins), minlength=len(self.EDGES) + 1)
        self._counts[width] = self._counts.get(width, 0) + found

    def inside(self, width: float) -> int:
        """At most how many of them lie within a band of this width; exactly 0 where it has not widened since."""
        reached = np.searchsorted(self.EDGES, width) + 1
        return sum(int(found[:reached].sum()) for then, found in self._counts.items() if then < width)
