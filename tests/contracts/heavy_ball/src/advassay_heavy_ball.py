"""Momentum iterative sign steps (Dong et al. 2018, arXiv 1710.06081) and the logit of the true class as a loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advassay.attacks.attack_step import (
    Proposal,
    State,
    UpdateRule,
    Visit,
    as_column,
    norm_of,
    steepest_direction,
)
from advassay.spec.attack_components import LossFacts

if TYPE_CHECKING:
    from torch import Tensor

    from advassay.spec.attack_spec import PGD, Arm

DECAY = 1.0
"""μ of the paper."""


class HeavyBall(UpdateRule):
    """State: the velocity, g ← μ·g + ∇L / ‖∇L‖₁, shaped like the iterate."""

    name = "heavy-ball"
    summary = "sign steps along a velocity that gathers the gradients"
    description = "g ← μ · g + ∇L / ‖∇L‖₁ with μ = 1, x ← Π(x + α · sign g): sign steps with momentum"
    source = "Dong et al. 2018"
    step_meaning = "length"

    def initial_state(self, x: Tensor, epsilon: Tensor, classes: int) -> State:
        return (x.new_zeros(x.shape),)

    def propose(self, visit: Visit, rules: PGD | Arm) -> Proposal:
        assert visit.gradient is not None
        size = visit.gradient.abs().flatten(1).sum(dim=1)
        velocity = DECAY * visit.state[0] + visit.gradient / as_column(size)
        offset = visit.x + as_column(visit.step_size) * steepest_direction(velocity, rules.norm) - visit.clean
        return Proposal(visit.clean, offset, None, norm_of(offset, rules.norm), (velocity,))


class TrueClassLogit(LossFacts):
    """−z_y; targeted z_t."""

    name = "true-class-logit"
    summary = "the logit of the true class falls"
    description = "L is minus the logit of the true class"
    rerun_loss = None

    def value(self, logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
        wanted, sign = (labels, -1.0) if targets is None else (targets, 1.0)
        return sign * logits.gather(1, wanted[:, None])[:, 0]


HEAVY_BALL = HeavyBall()
TRUE_CLASS_LOGIT = TrueClassLogit()
