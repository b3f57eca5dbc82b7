"""Which runs a question is about: the main arm unless said, the cohort's main network unless it is about sizes."""

from __future__ import annotations

import numpy as np

from advassay.analysis.packed import NEXT, Packed, packed, step_sizes
from advassay.errors import SpecError
from advassay.records.run import Run
from advassay.records.store import Records

USUAL_EPSILON = 0.02
"""The amplitude the reference study names; `epsilon=None` takes the recorded one nearest to it."""


def runs_of(records: Records, arm: str | None = None, primary: bool = True) -> list[Run]:
    """Runs of one arm (None = the main one) with rows, cohorts in the study's order.

    `primary=True`: the cohort's main network; False: every network (a size series). Raises SpecError for an unknown
    arm, StoreError where nothing is recorded.
    """
    name = records.main_arm if arm is None else arm
    if name not in records.arms:
        raise SpecError(f"arm: one of {', '.join(records.arms)}, got {arm!r}.", NEXT)
    order = {cohort: place for place, cohort in enumerate(records.cohorts)}
    found = [run for run in records.runs if run.header.arm == name and (run.header.primary or not primary)]
    return sorted((run for run in found if step_sizes(run)), key=lambda run: order[run.header.cohort])


def packs_of(
    records: Records, arm: str | None = None, step_size: str | None = None, primary: bool = True
) -> list[Packed]:
    """`runs_of` as arrays, one for each run: at `step_size`, or at the first its arm declares where None."""
    return [packed(run, step_size or first_step_size(records, run)) for run in runs_of(records, arm, primary)]


def first_step_size(records: Records, run: Run) -> str:
    """The step size of the run that its arm declares first; by name where the store has no study.yaml."""
    known = step_sizes(run)
    return next((name for name in records.step_sizes(run.header.arm) if name in known), known[0])


def nearest_epsilon(pack: Packed, epsilon: float | None) -> float:
    """`epsilon` checked to be recorded, or the recorded one nearest to 0.02 where None."""
    return closest_epsilon(pack, None) if epsilon is None else float(pack.epsilons[pack.at(epsilon)])


def closest_epsilon(pack: Packed, epsilon: float | None) -> float:
    """The recorded ε nearest to `epsilon` (None = 0.02): arms have grids of their own, a conclusion is about all."""
    wanted = USUAL_EPSILON if epsilon is None else epsilon
    return float(pack.epsilons[np.argmin(np.abs(pack.epsilons - wanted))])
