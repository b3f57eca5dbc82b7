"""The analysis plan that a store's verdicts, figures and tables follow: the frozen one, or the defaults."""

from __future__ import annotations

from dataclasses import dataclass

from advassay.records.store_reader import Records
from advassay.spec.analysis_plan import AnalysisPlan
from advassay.spec.attack_spec import step_size_name


@dataclass(frozen=True)
class PlanInForce:
    """A plan with its arm named.

    plan          every choice; `plan.arm` is never None
    prespecified  True: frozen before the first attack. False: after. None: the store holds no plan
    """

    plan: AnalysisPlan
    prespecified: bool | None = None

    @property
    def arm(self) -> str:
        """The arm that decides."""
        assert self.plan.arm is not None
        return self.plan.arm

    def step_size(self, arm: str | None = None) -> str | None:
        """Name of the step size at which an arm (None = the deciding one) is shown; None = the first it declares."""
        if self.plan.step_size is None or arm not in (None, self.arm):
            return None
        return step_size_name(self.plan.step_size)


def plan_in_force(records: Records, plan: AnalysisPlan | None = None) -> PlanInForce:
    """The store's frozen plan, or the defaults where it holds none; `plan` replaces it and is not pre-specified.

    A plan that names no arm is about the first declared one. Raises StoreError where it names none and nothing is
    recorded.
    """
    document = records.analysis
    chosen = plan or (document.plan if document else AnalysisPlan())
    named = chosen if chosen.arm else chosen.model_copy(update={"arm": records.main_arm})
    return PlanInForce(named, None if document is None else document.prespecified and plan is None)
