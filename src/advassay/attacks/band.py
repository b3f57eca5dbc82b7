"""The band around the decision boundary inside which a steered verdict is not trusted, for one image at a time.

An image's band starts at the width a probe of the network found (probe.py), the same for every image of a run, and
widens by that image's own comparisons alone. So which iterates float32 judges follows from the image, its points, the
network and the starting width: not from neighbours, order, or where a run was interrupted. Amplitudes added to an
image later are settled by themselves.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

WIDENING = 2.0
"""The band is this many times the largest error seen near the boundary …"""
NEAR = 4.0
"""… where near means this many bands; farther out errors grow with the margin and say little about it …"""
NEAREST = 0.5
"""… and, of the probe, the share of comparisons nearest to it."""


def starting_width(margins: np.ndarray, errors: np.ndarray) -> float:
    """WIDENING times the largest error among the nearest half of a probe's comparisons, or any that reached 0.

    `margins`: |steered margin|, `errors`: |float32 margin − steered margin|, in logits, (comparison,). An error that
    is not a number, or no comparison at all, makes the band EVERYTHING: all is judged.

    >>> starting_width(np.array([0.1, 0.2, 30.0, 40.0]), np.array([0.02, 0.01, 1.0, 1.0]))
    0.04
    >>> starting_width(np.array([0.1, 30.0]), np.array([0.02, 31.0]))
    62.0
    """
    if not len(margins) or np.isnan(errors).any():
        return EVERYTHING
    nearest = np.argsort(margins, kind="stable")[: max(1, round(NEAREST * len(margins)))]
    flipped = errors >= margins
    return min(EVERYTHING, float(WIDENING * max(errors[nearest].max(), errors[flipped].max(initial=0.0))))


EVERYTHING = float(np.finfo(np.float32).max)
"""A band that holds every margin; finite, so that a header can hold it."""


class Settled(NamedTuple):
    """What float32 must judge of one image."""

    width: float
    wanted: np.ndarray
    """(row, step) bool."""


def settle(
    steered: np.ndarray, judged: np.ndarray, start: float, downward: float, scored: np.ndarray | None = None
) -> Settled:
    """A set of iterates that holds its own band: mandatory ones, those inside it, and those that widened it.

    `steered`, `judged`: margins (row, step), NaN where unknown. `downward`: −1 where a negative margin means fallen,
    +1 where a positive one does (targeted). `scored` (row, step): where float32 has judged, if that is not where
    `judged` is a number (NaN logits decide nothing). Mandatory are the clean image, the last iterate, every iterate
    that was never steered, and of each row the steered successes up to the first that float32 confirms. What float32
    knows beyond the set changes nothing; where it lacks something wanted, score that and ask again.
    """
    scored = ~np.isnan(judged) if scored is None else scored
    width, wanted = start, np.zeros(steered.shape, bool)
    wanted[:, [0, -1]] = True
    while True:
        wanted |= ~(np.abs(steered) > width)
        for row in range(len(wanted)):
            _successes(steered[row], judged[row], scored[row], wanted[row], downward)
        wider = _wider(steered[wanted], judged[wanted], width)
        if wider <= width:
            return Settled(width, wanted)
        width = wider


def _successes(
    steered: np.ndarray, judged: np.ndarray, scored: np.ndarray, wanted: np.ndarray, downward: float
) -> None:
    """Want the row's steered successes up to the first iterate that float32 finds fallen, or has yet to judge."""
    maybe = (steered * downward > 0) | (wanted & (judged * downward > 0))
    for step in np.flatnonzero(maybe[1:]) + 1:
        wanted[step] = True
        if not scored[step] or judged[step] * downward > 0:
            return


def _wider(steered: np.ndarray, judged: np.ndarray, width: float) -> float:
    """The width that these comparisons ask for, at least `width`."""
    margins, errors = np.abs(steered), np.abs(judged - steered)
    known = ~np.isnan(errors)
    counts = known & ((margins <= NEAR * width) | (errors >= margins))
    return max(width, float(WIDENING * errors[counts].max(initial=0.0)))
