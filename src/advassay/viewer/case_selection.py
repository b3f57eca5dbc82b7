"""Which attacked images are taken where nobody has chosen: typical ones, by a rule, so that the same store gives the
same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from advassay.analysis.conclusions.evidence import PlanInForce, plan_in_force
from advassay.analysis.outcome_arrays import OutcomeArrays, load_outcomes
from advassay.errors import SpecError
from advassay.records.run_reader import Run
from advassay.viewer.opened_store import OpenedStore

Outcome = Literal["misclassified by the attack", "still classified correctly", "misclassified without an attack"]
MISCLASSIFIED: Outcome = "misclassified by the attack"
STILL_CORRECT: Outcome = "still classified correctly"
WRONG_BEFORE: Outcome = "misclassified without an attack"


@dataclass(frozen=True)
class Case:
    """One attacked image at one point: the smallest ε that misclassifies it, the largest of its run where none does."""

    run_id: str
    cohort: str
    image_id: str
    step_size: str
    epsilon: float
    outcome: Outcome


def typical_cases(opened: OpenedStore) -> list[Case]:
    """Of each cohort whose images may be shown, one image that the deciding arm misclassifies and one that it does not.

    Of those misclassified, the one whose smallest ε is the median (the lower one of two; ties by id); of those that
    are still classified correctly at every ε, the one whose clean confidence is.
    """
    found = []
    for run, pack in deciding_runs(opened):
        if not opened.may_show(run.header.cohort):
            continue
        smallest, ids = _smallest(opened, pack), pack.image_ids
        counted = pack.attackable.all(axis=0)
        for images, key in (
            (np.flatnonzero(counted & np.isfinite(smallest)), smallest),
            (np.flatnonzero(counted & np.isinf(smallest)), pack.clean_confidence),
        ):
            ranked = sorted(images.tolist(), key=lambda image: (key[image], ids[image]))
            if ranked:
                found.append(_case(run, pack, ranked[(len(ranked) - 1) // 2], smallest))
    return found


def cases_of(opened: OpenedStore, image_ids: Sequence[str]) -> list[Case]:
    """The named images in the run of the deciding arm of every cohort that attacked them, in the order of the names.

    Raises SpecError for an image that none of these runs holds, or whose cohort's images may not be shown.
    """
    runs = deciding_runs(opened)
    found = []
    for image_id in dict.fromkeys(image_ids):
        holding = [(run, pack, np.flatnonzero(pack.image_ids == image_id)) for run, pack in runs]
        holding = [(run, pack, places) for run, pack, places in holding if len(places)]
        if not holding:
            raise SpecError(
                f"--images: expected ids of images that the deciding arm attacked, got {image_id!r}.",
                "`advassay view STORE` lists them.",
            )
        for run, pack, places in holding:
            if not opened.may_show(run.header.cohort):
                raise SpecError(
                    f"--images: {image_id} is of {run.header.cohort}, whose study keeps no gallery.",
                    "Give --show-all-images if its images may be shown.",
                )
            found.append(_case(run, pack, int(places[0]), _smallest(opened, pack)))
    return found


def deciding_runs(opened: OpenedStore) -> list[tuple[Run, OutcomeArrays]]:
    """The main network's run of each cohort under the analysis plan's arm, at its step size; of the first recorded arm
    where that one is not recorded."""
    plan = _plan(opened)
    arm = plan.arm if plan.arm in opened.records.arms else opened.records.main_arm
    wanted = plan.step_size(arm)
    found = []
    for cohort in opened.records.cohorts:
        header = next((h for h in opened.records.headers if h.primary and h.cohort == cohort and h.arm == arm), None)
        sizes = [] if header is None else opened.step_sizes(header.run_id)
        if header is not None and sizes:
            declared = [name for name in (wanted, *opened.records.step_sizes(arm)) if name in sizes]
            run = opened.run(header.run_id)
            found.append((run, load_outcomes(run, declared[0] if declared and declared[0] else sizes[0])))
    return found


def _plan(opened: OpenedStore) -> PlanInForce:
    return plan_in_force(opened.records)


def _smallest(opened: OpenedStore, pack: OutcomeArrays) -> np.ndarray:
    """(image,) float64: the smallest ε that misclassifies it, by the plan's reading of success; infinity for none."""
    fallen = pack.fallen(_plan(opened).plan.success)[:, pack.steps]
    return np.where(fallen.any(axis=0), pack.epsilons[fallen.argmax(axis=0)], np.inf)


def _case(run: Run, pack: OutcomeArrays, image: int, smallest: np.ndarray) -> Case:
    held = pack.epsilons[pack.present[:, image]]
    outcome = MISCLASSIFIED if np.isfinite(smallest[image]) else STILL_CORRECT
    if not pack.attackable[:, image].any():
        outcome = WRONG_BEFORE
    epsilon = float(smallest[image] if np.isfinite(smallest[image]) else held[-1])
    return Case(run.header.run_id, run.header.cohort, str(pack.image_ids[image]), pack.step_size, epsilon, outcome)
