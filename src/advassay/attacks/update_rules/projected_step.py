"""One step along the gradient: projected onto the ball (sign, unit or raw gradient), or with the gradient clipped.

The order and form of every operation is torchattacks' (and gives Foolbox's bits):
x′ = x + step·direction;  δ = clamp(x′ − x₀, −ε, ε);  x ← clamp(x₀ + δ, 0, 1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from advassay.attacks.attack_step import (
    Proposal,
    UpdateRule,
    Visit,
    as_column,
    clipped_share,
    norm_of,
    steepest_direction,
)
from advassay.spec.attack_components import UPDATE_RULES

if TYPE_CHECKING:
    from torch import Tensor

    from advassay.spec.attack_spec import PGD, Arm


class ProjectedSign(UpdateRule):
    """A step in the steepest direction (sign, or unit gradient), then the nearest image within ε of the clean one."""

    name = "projected-sign"
    summary = "a step along the sign of the gradient (L2: the unit gradient), then projection"
    description = (
        "x ← Π(x + α · sign ∇L): a step α along the sign of the gradient, then projection onto the ε-ball and the "
        "valid range"
    )
    source = "PGD, Madry et al. 2018; BIM, Kurakin et al. 2017"
    step_meaning = "length"

    def propose(self, visit: Visit, rules: PGD | Arm) -> Proposal:
        assert visit.gradient is not None
        return _projected(visit, steepest_direction(visit.gradient, rules.norm), rules)


class ProjectedGradient(UpdateRule):
    """A step along the raw gradient, then the nearest image within ε of the clean one."""

    name = "projected-gradient"
    summary = "a step along the raw gradient, then projection; step_size is a gain"
    description = (
        "x ← Π(x + α · ∇L): a step along the raw gradient with gain α, then projection onto the ε-ball and the valid "
        "range"
    )
    source = "the reference study's formula 1, with the clip read as a projection"
    step_meaning = "gain"

    def propose(self, visit: Visit, rules: PGD | Arm) -> Proposal:
        assert visit.gradient is not None
        return _projected(visit, visit.gradient, rules)


class ClippedGradient(UpdateRule):
    """Formula 1 of Kovalev & Voynov 2019 taken literally: the gradient is clipped to ε, the image to [0, 1] alone."""

    name = "literal"
    summary = "a step along the gradient clipped to ε, without projection; step_size is a gain"
    description = "x ← x + α · clip(∇L, −ε, ε): the gradient is clipped, the image is not projected but kept valid"
    source = "the reference study's formula 1 as printed"
    step_meaning = "gain"
    bounds_the_image = False

    def propose(self, visit: Visit, rules: PGD | Arm) -> Proposal:
        assert visit.gradient is not None
        return Proposal(visit.x, visit.gradient, visit.step_size, norm_of(visit.gradient, rules.norm), visit.state)

    def boundary_share(self, proposal: Proposal, epsilon: Tensor, rules: PGD | Arm) -> Tensor:
        assert proposal.offset is not None
        return clipped_share(proposal.offset, epsilon, rules.norm)


def _projected(visit: Visit, direction: Tensor, rules: PGD | Arm) -> Proposal:
    """A step along `direction` from each iterate, seen from the clean image, around which every ball lies."""
    offset = visit.x + as_column(visit.step_size) * direction - visit.clean
    return Proposal(visit.clean, offset, None, norm_of(offset, rules.norm), visit.state)


for rule in (ProjectedSign(), ProjectedGradient(), ClippedGradient()):
    UPDATE_RULES.register(rule)
