"""How large a study must be: images and patients for an interval of a given width or a difference to be seen.

The design effect 1 + (m − 1)·ICC says how many images of one patient are worth one image of another (Kish, Survey
Sampling (1965) §5.4; Donner & Klar, Cluster Randomization Trials (2000) §5). Widths are those of Wilson's interval,
power that of the two-sided test of two proportions (Fleiss, Levin & Paik, Statistical Methods for Rates and Proportions
(2003) §4.2; paired: Connor, Biometrics 43 (1987)).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np

from advassay.analysis.intervals import wilson
from advassay.errors import SpecError


@dataclass(frozen=True)
class Needed:
    """A size of sample, for each condition or cohort."""

    images: int
    """Attackable images: those first classified correctly. Divide by the clean accuracy for images to attack."""
    patients: int
    effective_images: int
    """Images of different patients that would say as much."""
    design_effect: float


def design_effect(images_per_patient: float, icc: float) -> float:
    """Images needed for one independent image's worth: 1 + (m − 1)·ICC.

    >>> design_effect(10, 0.2)
    2.8
    """
    if images_per_patient < 1 or not 0 <= icc <= 1:
        raise SpecError(
            f"expected images_per_patient ≥ 1 and icc in [0, 1], got {images_per_patient} and {icc}.",
            "Take 1 and any icc where every patient has one image.",
        )
    return 1 + (images_per_patient - 1) * icc


def needed_for_width(
    width: float, rate: float = 0.5, *, images_per_patient: float = 1, icc: float = 0.2, level: float = 0.95
) -> Needed:
    """Sample for an interval (high − low) no wider than `width` at a success rate of `rate`, all in (0, 1).

    rate 0.5 is the widest case. Raises SpecError outside (0, 1).

    >>> needed_for_width(0.1, images_per_patient=5, icc=0.2)
    Needed(images=690, patients=138, effective_images=381, design_effect=1.8)
    """
    _within(width=width, rate=rate, level=level)
    high = 1
    while _width(high, rate, level) > width:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _width(middle, rate, level) > width else (low, middle)
    return _clustered(high, images_per_patient, icc)


def needed_for_difference(
    first: float, second: float, *, paired: bool = False, correlation: float = 0.5, images_per_patient: float = 1,
    icc: float = 0.2, level: float = 0.95, power: float = 0.8,
) -> Needed:  # fmt: skip
    """Sample (of each condition) with which success rates of `first` and `second` are told apart.

    paired=True: both conditions on the same images, whose outcomes correlate by `correlation` (phi, in [0, 1)); the
    sample is then that of one set of images. Raises SpecError for rates outside (0, 1) or equal ones.

    >>> needed_for_difference(0.5, 0.6).images, needed_for_difference(0.5, 0.6, paired=True).images
    (388, 198)
    """
    from scipy.stats import norm

    _within(first=first, second=second, level=level, power=power)
    if first == second:
        raise SpecError(
            f"first and second: expected different rates, got {first} twice.",
            "Give the smallest difference worth finding: no number of images shows none.",
        )
    alpha, beta = norm.ppf(0.5 + level / 2), norm.ppf(power)
    d, mean = first - second, (first + second) / 2
    if paired:
        shared = correlation * sqrt(first * (1 - first) * second * (1 - second))
        discordant = first * (1 - second) + second * (1 - first) - 2 * shared
        n = (alpha * sqrt(discordant) + beta * sqrt(max(discordant - d**2, 0))) ** 2 / d**2
    else:
        spread = first * (1 - first) + second * (1 - second)
        n = (alpha * sqrt(2 * mean * (1 - mean)) + beta * sqrt(spread)) ** 2 / d**2
    return _clustered(ceil(n), images_per_patient, icc)


def _width(n: int, rate: float, level: float) -> float:
    low, high = wilson(np.array([rate * n]), np.array([n]), level)
    return float(high[0] - low[0])


def _clustered(effective: int, images_per_patient: float, icc: float) -> Needed:
    factor = design_effect(images_per_patient, icc)
    patients = ceil(effective * factor / images_per_patient)
    return Needed(ceil(patients * images_per_patient), patients, effective, factor)


def _within(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < 1:
            raise SpecError(f"{name}: between 0 and 1, got {value}.", "Give a share, as 0.05 for 5 %.")
