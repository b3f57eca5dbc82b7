"""The update rules, and where each is registered.

The order and form of every operation is torchattacks' (and gives Foolbox's bits):
x′ = x + step·direction;  δ = clamp(x′ − x₀, −ε, ε);  x ← clamp(x₀ + δ, 0, 1).
"""

from __future__ import annotations

from torch import Tensor

from advassay.attacks.apgd import AutoPGD
from advassay.attacks.norm_balls import as_column, norm_of, steepest_direction
from advassay.attacks.perturbation_norms import clipped_share
from advassay.attacks.update_rule import Proposal, UpdateRule, Visit
from advassay.spec.attack_spec import PGD, Arm, Update, check_complete


class ProjectedStep(UpdateRule):
    """A step, then the nearest image within ε of the clean one.

    `normalised`: along the steepest direction (sign, or unit gradient), else along the raw gradient.
    """

    def __init__(self, *, normalised: bool) -> None:
        self.normalised = normalised

    def propose(self, visit: Visit, rules: PGD | Arm) -> Proposal:
        assert visit.gradient is not None
        direction = steepest_direction(visit.gradient, rules.norm) if self.normalised else visit.gradient
        offset = visit.x + as_column(visit.step_size) * direction - visit.clean
        return Proposal(visit.clean, offset, None, norm_of(offset, rules.norm), visit.state)


class ClippedGradientStep(UpdateRule):
    """Formula 1 of Kovalev & Voynov 2019 taken literally: the gradient is clipped to ε, the image to [0, 1] alone."""

    def propose(self, visit: Visit, rules: PGD | Arm) -> Proposal:
        assert visit.gradient is not None
        return Proposal(visit.x, visit.gradient, visit.step_size, norm_of(visit.gradient, rules.norm), visit.state)

    def boundary_share(self, proposal: Proposal, epsilon: Tensor, rules: PGD | Arm) -> Tensor:
        assert proposal.offset is not None
        return clipped_share(proposal.offset, epsilon, rules.norm)


UPDATES: dict[Update, UpdateRule] = {
    "projected-sign": ProjectedStep(normalised=True),
    "projected-gradient": ProjectedStep(normalised=False),
    "literal": ClippedGradientStep(),
    "apgd": AutoPGD(),
}
"""Every update rule there is: the only place where one is registered."""
check_complete("update", Update, UPDATES)
