"""Confidence interval of an area under the ROC curve that is known only as a number, with the sizes of the classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

STEPS = 60
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
    for _ in range(STEPS):
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
