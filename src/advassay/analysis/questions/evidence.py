"""What the five questions are judged on: the plan, and the networks of the arm it names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from advassay.analysis.dose_response.epsilon50 import Epsilon50, Estimator, by_bracket, epsilon50_of
from advassay.analysis.dose_response.thresholds import distinct_doses, places_of, thresholds
from advassay.analysis.packed import Packed, packed, step_sizes
from advassay.analysis.plan_in_force import plan_in_force
from advassay.analysis.selection import first_step_size, runs_of
from advassay.analysis_plan import AnalysisPlan
from advassay.errors import SpecError
from advassay.records.store import Records


@dataclass(frozen=True)
class Evidence:
    """One store under one plan.

    networks      every network attacked by the plan's arm, at its step size (main ones and size series)
    others        arm → the main networks under every other arm, for what the verdict does not rest on
    prespecified  True: the plan was fixed before the first attack. False: after. None: the store holds no plan
    estimator     of ε50; verdicts rest on the curve, the specification curve looks at the bracket too
    """

    plan: AnalysisPlan
    networks: tuple[Packed, ...]
    others: dict[str, tuple[Packed, ...]]
    prespecified: bool | None = None
    estimator: Estimator = "curve"

    @property
    def arm(self) -> str:
        return self.networks[0].header.arm if self.networks else ""

    @cached_property
    def main(self) -> tuple[tuple[Packed, ...], ...]:
        """Each cohort's main networks: the first, then those of other seeds on the same training set and grid."""
        found: list[tuple[Packed, ...]] = []
        for pack in self.networks:
            if pack.header.primary and pack.header.cohort not in {packs[0].header.cohort for packs in found}:
                found.append((pack, *(other for other in self.networks if _repeats(other, pack))))
        return tuple(found)

    @cached_property
    def shared_doses(self) -> np.ndarray:
        """Amplitudes that every cohort was attacked at, rising; cohorts with other grids are compared on these."""
        grids = [distinct_doses(packs[0])[0] for packs in self.main]
        shared = grids[0] if grids else np.empty(0)
        for grid in grids[1:]:
            shared = shared[places_of(grid, shared)]
        return shared

    @cached_property
    def _epsilon50(self) -> dict[int, Epsilon50]:
        return {}

    def epsilon50(self, pack: Packed) -> Epsilon50:
        """ε50 of one network under the plan's readings; estimated once."""
        if id(pack) not in self._epsilon50:
            data = thresholds(pack, self.plan.success, self.plan.dose)
            found = epsilon50_of(data, self.plan.level)
            self._epsilon50[id(pack)] = by_bracket(found) if self.estimator == "bracket" else found
        return self._epsilon50[id(pack)]

    def at(self, **changes: object) -> Evidence:
        """The same networks under a plan with other choices (not another arm or step size)."""
        return replace(self, plan=self.plan.model_copy(update=changes))


def _repeats(other: Packed, main: Packed) -> bool:
    """Whether `other` is the main network trained once more: same cohort, whole training set, same grid, other seed."""
    a, b = other.header, main.header
    same = a.cohort == b.cohort and a.full and b.full and a.train_size == b.train_size and a.seed != b.seed
    return same and other.epsilons.tolist() == main.epsilons.tolist()


def evidence_of(
    records: Records, plan: AnalysisPlan | None = None, *, arm: str | None = None, step_size: str | None = None
) -> Evidence:
    """The store's evidence under its own plan, or under `plan`; `arm` and `step_size` replace the plan's.

    Raises SpecError where the plan names an arm or step size that is not recorded.
    """
    force = plan_in_force(records, plan)
    name = arm or force.arm
    size = step_size or force.step_size(name)
    others = {other: _packs(records, other, None, primary=True) for other in records.arms if other != name}
    own = force.plan if arm is None and step_size is None else _elsewhere(force.plan, name, size)
    return Evidence(own, _packs(records, name, size, primary=False), others, force.prespecified)


def _elsewhere(plan: AnalysisPlan, arm: str, step_size: str | None) -> AnalysisPlan:
    """The plan with another arm and step size."""
    return plan.model_copy(update={"arm": arm, "step_size": step_size})


def _packs(records: Records, arm: str, step_size: str | None, *, primary: bool) -> tuple[Packed, ...]:
    found = []
    for run in runs_of(records, arm, primary=primary):
        known = step_sizes(run)
        if step_size is not None and step_size not in (*known, "any"):
            raise SpecError(
                f"analysis.step_size: one of {', '.join(known)} ({run.header.cohort}, arm {arm}), got {step_size}.",
                "Name a recorded step size, or attack with this one first.",
            )
        found.append(packed(run, step_size or first_step_size(records, run)))
    return tuple(found)
