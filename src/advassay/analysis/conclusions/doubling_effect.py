"""The control to twice the iterations, as evidence for question 3: what more of the same attack would have done.

A sample of each network's images is attacked to 2K iterations beside its run (Carlini et al. 2019, arXiv 1902.06705).
Its change from K to 2K is paired by image, clustered by patient and pooled over cohorts like the other effects.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from advassay import store_documents
from advassay.analysis.conclusions.effect_sizes import (
    Effect,
    Value,
    joined,
    mean_by_patient,
    overall,
    values_of,
)
from advassay.analysis.conclusions.evidence import Evidence, kind_of
from advassay.analysis.dose_response.thresholds import places_of
from advassay.analysis.outcome_arrays import OutcomeArrays
from advassay.success import Reading


@dataclass(frozen=True)
class Doubling:
    """What twice the iterations did to the samples of all main networks.

    effect    change of the success rate from K to 2K, pooled over cohorts; None: no interval can be formed
    change    the same over all images × ε together, as counted; NaN where none counts
    compared  images × ε that count
    images    images of the samples that count
    cohorts   with a control
    lacking   cohorts with a main network that no control was run on, or only one that kept no changes by image
    """

    effect: Effect | None
    change: float
    compared: int
    images: int
    cohorts: int
    lacking: tuple[str, ...] = ()

    @property
    def decides(self) -> bool:
        """Whether there is an interval over every main network."""
        return self.effect is not None and self.effect.known and not self.lacking


def pool_statistic(evidence: Evidence, statistic: Any) -> Effect:
    return overall(joined(values_of(evidence.comparable, statistic), evidence.comparable), evidence.plan.level)


def doubling_of(evidence: Evidence) -> Doubling | None:
    """The control of every main network, at the shared amplitudes that all of them doubled; None where none ran.

    Networks of a size series have no controls and need none.
    """
    needed = [
        [p for i, p in enumerate(packs) if i == 0 or p.header.controls is not None] for packs in evidence.comparable
    ]
    ran = [packs for packs in needed if any(control_of(pack) for pack in packs)]
    if not ran:
        return None
    doses = doubled_doses(needed, evidence.shared_doses)
    statistic = partial(doubled_change, success=evidence.plan.success, doses=doses)
    values = joined(values_of(needed, statistic), needed)
    lacking = tuple(packs[0].header.cohort for packs in needed if not all(map(has_kept_changes, packs)))
    points = [point for packs in needed for pack in packs for point in counts_of(pack)]
    compared = sum(point["images"] for point in points)
    names = ("at_k", "at_2k") if evidence.plan.success == "last" else ("any_k", "any_2k")
    at_k, at_2k = (sum(point[name] for point in points) for name in names)
    return Doubling(
        overall(values, evidence.plan.level) if values else None,
        (at_2k - at_k) / compared if compared else float("nan"),
        compared, sum(v.images for v in values), len(ran), lacking,
    )  # fmt: skip


def control_of(pack: OutcomeArrays) -> store_documents.Doubling | None:
    """The run's control to 2K iterations; None where none ran at this step size."""
    controls = pack.header.controls
    if controls is None or controls.doubling is None or controls.doubling.step_size != pack.step_size:
        return None
    return controls.doubling


def counts_of(pack: OutcomeArrays) -> list[dict[str, int]]:
    """The counts of a run's control, one a ε; empty where none ran."""
    control = control_of(pack)
    return [] if control is None else list(control.by_epsilon.values())


def has_kept_changes(pack: OutcomeArrays) -> bool:
    control = control_of(pack)
    return control is not None and bool(control.changes)


def doubled_doses(networks: list[list[OutcomeArrays]], shared: np.ndarray) -> np.ndarray:
    """Those of the shared amplitudes that every control with changes by image doubled."""
    found = shared
    for control in (control_of(pack) for packs in networks for pack in packs):
        if control is not None and control.changes:
            found = found[places_of(np.array(sorted(map(float, control.changes))), found)]
    return found


def doubled_change(pack: OutcomeArrays, success: Reading, doses: np.ndarray) -> Value | None:
    """Change of success from K to 2K iterations in the control's sample, as a mean over `doses` (dose,).

    None without a control that kept which images change, or without an image that counts at all of them.
    """
    control = control_of(pack)
    if control is None or not control.changes or not doses.size:
        return None
    prefix = "" if success == "last" else "any_"
    known = {float(text): changes for text, changes in control.changes.items()}
    grid = np.array(sorted(known))
    used = [known[epsilon] for epsilon in grid[places_of(doses, grid)]]
    places = {image: place for place, image in enumerate(pack.image_ids)}
    kept = np.array([image in places for image in control.image_ids], bool)  # not those removed from the store
    change = np.zeros(len(kept))
    for changes in used:
        change[list(changes[f"{prefix}gained"])] += 1 / len(used)
        change[list(changes[f"{prefix}lost"])] -= 1 / len(used)
        kept[list(changes["left_out"])] = False
    if not used or not kept.any():
        return None
    patients = pack.patients[[places[image] for image, of in zip(control.image_ids, kept, strict=True) if of]]
    return mean_change(pack, change[kept], patients, len(used))


def mean_change(pack: OutcomeArrays, change: np.ndarray, patients: np.ndarray, amplitudes: int) -> Value:
    """The mean of a change of each image (image,) over `amplitudes`, clustered by patient."""
    smallest = max(float(np.abs(change).max()), 1 / amplitudes)
    mean, variance, groups = mean_by_patient(change, patients, smallest)
    header = pack.header
    return Value((header.cohort,), kind_of(header.image_type), mean, variance, max(groups - 1, 1), len(change))
