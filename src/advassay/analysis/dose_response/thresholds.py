"""Each image's smallest ε that misclassifies it, known only to lie between two amplitudes of the grid.

The dose is what the attack could use: K sign steps of absolute size move no pixel farther than K · step size, and K
normalised ones the image no farther in L2, so every ε above that is one and the same trajectory and one amplitude.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from advassay.analysis.outcome_arrays import OutcomeArrays
from advassay.spec.analysis_plan import DoseReading
from advassay.spec.attack_spec import largest_reach, parse_step_size
from advassay.success import Reading


@dataclass(frozen=True)
class Thresholds:
    """Interval-censored thresholds of one network's images.

    doses     (dose,) float64, rising, > 0: amplitudes as fractions of the [0, 1] range
    category  (image,) int64: 0 = misclassified at the smallest dose already, j = first at doses[j], dose = at none
    patients  (image,) int64 codes; images of one patient are not independent
    kept      (all images of the run,) bool: which of them these are
    """

    doses: np.ndarray
    category: np.ndarray
    patients: np.ndarray
    kept: np.ndarray

    @property
    def images(self) -> int:
        return len(self.category)

    @cached_property
    def counts(self) -> np.ndarray:
        """(dose + 1,) images by category."""
        return np.bincount(self.category, minlength=len(self.doses) + 1)

    @cached_property
    def share(self) -> np.ndarray:
        """(dose,) share of images misclassified at this or a smaller dose; NaN without images.

        With every image judged at every dose this is the non-parametric maximum-likelihood estimate (Turnbull,
        JRSS-B 38 (1976) 290): it says nothing between two doses.
        """
        if not self.images:
            return np.full(len(self.doses), np.nan)
        return np.asarray(np.cumsum(self.counts)[:-1] / self.images)

    @cached_property
    def n_patients(self) -> int:
        return len(np.unique(self.patients))


def reachable(pack: OutcomeArrays) -> np.ndarray:
    """(epsilon,) float64: the amplitude each ε of the grid gives the attack, min(ε, K · step size) for sign steps and
    normalised ones.

    Other updates have no such bound: their step is a gain, or sized by ε.
    """
    attack = pack.header.attack
    if pack.step_size == "any" or not pack.steps:
        return pack.epsilons
    most = largest_reach(
        parse_step_size(pack.step_size), pack.steps, attack.get("update", ""),
        random_start=bool(attack.get("random_start")),
    )  # fmt: skip
    return pack.epsilons if most is None else np.asarray(np.minimum(pack.epsilons, most))


def distinct_doses(pack: OutcomeArrays) -> tuple[np.ndarray, np.ndarray]:
    """(doses (dose,) rising, index into the pack's ε of each): amplitudes that are not the same trajectory twice."""
    reached = reachable(pack)
    # 1e-9 is far below any step between two amplitudes and far above the rounding of K · step size.
    new = np.r_[True, np.diff(reached) > 1e-9 * reached[1:]]
    return reached[new], np.flatnonzero(new)


def places_of(wanted: np.ndarray, doses: np.ndarray) -> np.ndarray:
    """Indices into `doses` (dose,) of those that are among `wanted`, rising; equal to 9 digits is equal."""
    return np.flatnonzero((np.abs(doses[:, None] - wanted[None, :]) <= 1e-9 * doses[:, None]).any(axis=1))


def thresholds(
    pack: OutcomeArrays, success: Reading = "last", dose: DoseReading = "monotone", images: np.ndarray | None = None
) -> Thresholds:
    """Thresholds of the images judged at every ε and first classified correctly; `images` (image,) bool restricts.

    monotone     the first dose at which an image is misclassified: the ε-balls are nested, so what a smaller ε did a
                 larger one can do too
    as recorded  the dose from which on an image is misclassified at every larger one: successes that were lost again
                 do not count
    """
    doses, at = distinct_doses(pack)
    kept = np.asarray(pack.attackable[at].all(axis=0))
    kept = kept if images is None else kept & images
    down = pack.fallen(success)[at, -1][:, kept]
    if dose == "monotone":
        category = np.where(down.any(axis=0), down.argmax(axis=0), len(doses))
    else:
        standing = ~down[::-1]
        category = np.where(standing.any(axis=0), len(doses) - standing.argmax(axis=0), 0)
    return Thresholds(doses, category.astype(np.int64), pack.patients[kept].astype(np.int64), kept)


def misclassified(pack: OutcomeArrays, success: Reading = "last") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As recorded: doses (dose,), misclassified (dose, image) bool, patients (image,); images judged at every ε."""
    doses, at = distinct_doses(pack)
    kept = np.asarray(pack.attackable[at].all(axis=0))
    return doses, pack.fallen(success)[at, -1][:, kept], pack.patients[kept].astype(np.int64)
