"""How many times the amplitude one part of a network's images needs against another: the difference of two ln ε50."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from advassay.analysis.dose_response.epsilon50 import Epsilon50
from advassay.analysis.dose_response.pooling import Bound


@dataclass(frozen=True)
class Shift:
    """ln ε50 of some images less that of others, under one network.

    value     the difference, or what it is known to be at least or at most
    variance  of `value`: patients with images in both parts count once
    freedom   degrees of freedom (Welch–Satterthwaite over the two parts)
    """

    value: float
    variance: float
    freedom: float
    bound: Bound = "value"


def shift_of(these: Epsilon50, others: Epsilon50) -> Shift | None:
    """None where nothing is known of either, or where both lie beyond the same end of the grid.

    Each part has a curve of its own, so parts whose curves differ in steepness, or in the share that never falls, are
    compared by ε50 and not by a shift of one common curve.
    """
    first, second = these.known, others.known
    if first is None or second is None:
        return None
    bounds = {first[1], OPPOSITE[second[1]]} - {"value"}
    if len(bounds) > 1:
        return None
    value = first[0] - second[0]
    if not bounds:
        return Shift(value, _variance(these, others), _freedom(these, others))
    inside = [part for part, (_, bound) in ((these, first), (others, second)) if bound == "value"]
    return Shift(
        value,
        sum(part.variance for part in inside),
        min((part.freedom for part in inside), default=1.0),
        bounds.pop(),
    )


OPPOSITE: dict[Bound, Bound] = {"value": "value", "at most": "at least", "at least": "at most"}
"""What a bound of a number makes known of its negative."""


def _variance(these: Epsilon50, others: Epsilon50) -> float:
    """The larger of the images' and the patients', plus the shape of either curve between two doses."""
    patients = np.unique(np.r_[these.data.patients, others.data.patients])
    by_patient = these.sums(patients) - others.sums(patients)
    between = these.between + others.between
    return max(these.sampling + others.sampling, float((by_patient**2).sum())) + between


def _freedom(these: Epsilon50, others: Epsilon50) -> float:
    a, b = these.variance, others.variance
    return (a + b) ** 2 / (a**2 / these.freedom + b**2 / others.freedom) if a + b > 0 else these.freedom
