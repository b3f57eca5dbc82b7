"""Auto-PGD (Croce & Hein 2020, arXiv 2003.01690, algorithm 1): momentum, step halving by progress, best point kept.

Needs no step size: it begins with 2ε and halves it at checkpoints where the loss stops rising. Nothing is shared
between amplitudes, and all gradients come from the unmodified network in float32.
Iterate k of the record is the point kept after k updates (an adversarial one before any that is not, then the larger
loss): what the attack would hand back if it were stopped there. So under apgd success is never lost again.
"""

from __future__ import annotations

from functools import cache
from math import ceil, inf
from typing import TYPE_CHECKING

from advassay.attacks.attack_step import (
    Proposal,
    State,
    UpdateRule,
    Visit,
    as_column,
    project_onto_ball,
    steepest_direction,
)
from advassay.attacks.losses import attack_loss
from advassay.spec.attack_components import UPDATE_RULES
from advassay.success import is_adversarial

if TYPE_CHECKING:
    from torch import Tensor

    from advassay.spec.attack_spec import PGD, Arm

MOMENTUM = 0.75  # α of the paper: weight of the new step against the last one
PROGRESS = 0.75  # ρ: share of updates that must raise the loss for the step to be kept


@cache
def checkpoints(steps: int) -> list[int]:
    """Updates after which progress is judged: p₁ = 0.22, then periods shorter by 0.03 each, no shorter than 0.06.

    >>> checkpoints(100)[:5]
    [22, 41, 57, 70, 80]
    """
    share, period, found = 0.22, 0.22, []
    while share < 1:
        found.append(ceil(share * steps - 1e-9))
        period = max(period - 0.03, 0.06)
        share += period
    return sorted({k for k in found if 0 < k < steps})


class AutoPGD(UpdateRule):
    """State of each trajectory: its last point, best point, the gradient there, the kept point and its logits, and
    the numbers named by STEP_SIZE … KEPT_ADVERSARIAL in one table (iterate, 8)."""

    name = "apgd"
    summary = "Auto-PGD: momentum and a step size that adapts; needs no step_size"
    description = "Auto-PGD: momentum, step size from 2ε on by the loss, restarts from the best iterate"
    source = "Croce and Hein 2020"
    step_meaning = "unused"
    shares_iterates = False
    restarts_at_random = True
    needs_float32 = True
    records_another_point = True

    STEP_SIZE, LOSS, RISES, BEST_LOSS, BEST_AT_CHECK, HALVED, KEPT_LOSS, KEPT_ADVERSARIAL = range(8)

    def initial_state(self, x: Tensor, epsilon: Tensor, classes: int) -> State:
        table = x.new_zeros(len(x), 8)
        table[:, self.STEP_SIZE] = 2 * epsilon
        table[:, self.LOSS] = inf  # so that the start itself is no rise
        table[:, [self.BEST_LOSS, self.BEST_AT_CHECK, self.KEPT_LOSS]] = -inf
        table[:, self.HALVED] = 1
        return x, x, x.new_zeros(x.shape), x, x.new_zeros(len(x), classes), table

    def observe(self, visit: Visit, rules: PGD | Arm) -> State:
        before, best, best_gradient, kept, kept_logits, old = visit.state
        loss = attack_loss(visit.logits, visit.labels, rules.loss, visit.targets).detach()
        table = old.clone()
        table[:, self.RISES] += (loss > old[:, self.LOSS]).float()
        table[:, self.LOSS] = loss
        if visit.gradient is not None:
            better = loss > old[:, self.BEST_LOSS]
            table[:, self.BEST_LOSS] = loss.where(better, old[:, self.BEST_LOSS])
            best = visit.x.where(as_column(better), best)
            best_gradient = visit.gradient.where(as_column(better), best_gradient)
        targets = None if visit.targets is None else visit.targets.cpu().numpy()
        verdict = is_adversarial(visit.logits.cpu().numpy(), visit.labels.cpu().numpy(), targets)
        now, was = visit.labels.new_tensor(verdict) > 0, old[:, self.KEPT_ADVERSARIAL] > 0
        take = (now & ~was) | ((now == was) & (loss > old[:, self.KEPT_LOSS])) | (visit.step == 0)
        table[:, self.KEPT_LOSS] = loss.where(take, old[:, self.KEPT_LOSS])
        table[:, self.KEPT_ADVERSARIAL] = (was | now).float()
        kept = visit.x.where(as_column(take), kept)
        return before, best, best_gradient, kept, visit.logits.where(take[:, None], kept_logits), table

    def recorded(self, visit: Visit) -> tuple[Tensor, Tensor]:
        # Iterate 0 of the record is the clean image, wherever the trajectory starts.
        return visit.clean.where(as_column(visit.step == 0), visit.state[3]), visit.state[4]

    def propose(self, visit: Visit, rules: PGD | Arm) -> Proposal:
        """The next point itself: halved and back at the best where progress stopped, then a step with momentum."""
        assert visit.gradient is not None
        before, best, best_gradient, kept, kept_logits, table = visit.state
        halve, table = self._checked(visit, table, rules.steps)
        x = best.where(as_column(halve), visit.x)
        gradient = best_gradient.where(as_column(halve), visit.gradient)

        def project(point: Tensor) -> Tensor:
            return (visit.clean + project_onto_ball(point - visit.clean, visit.epsilon, rules.norm)).clamp(0, 1)

        ahead = project(x + as_column(table[:, self.STEP_SIZE]) * steepest_direction(gradient, rules.norm))
        momentum = project(x + (MOMENTUM * (ahead - x) + (1 - MOMENTUM) * (x - before)))
        moved = ahead.where(as_column(visit.step == 0), momentum)  # the first step has none before it
        together = x.new_zeros(len(x))  # each row is alone: there is nothing to part
        return Proposal(moved, None, None, together, (x, best, best_gradient, kept, kept_logits, table))

    def _checked(self, visit: Visit, old: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """Which trajectories halve their step here, and the table after it."""
        periods = [0.0] * (steps + 1)
        for last, at in zip([0, *checkpoints(steps)], checkpoints(steps), strict=False):
            periods[at] = float(at - last)
        period = old.new_tensor(periods)[visit.step]
        due = period > 0
        stuck = (old[:, self.HALVED] == 0) & (old[:, self.BEST_AT_CHECK] >= old[:, self.BEST_LOSS])
        halve = due & ((old[:, self.RISES] <= PROGRESS * period) | stuck)
        table = old.clone()
        table[:, self.STEP_SIZE] = (old[:, self.STEP_SIZE] / 2).where(halve, old[:, self.STEP_SIZE])
        table[:, self.BEST_AT_CHECK] = old[:, self.BEST_LOSS].where(due, old[:, self.BEST_AT_CHECK])
        table[:, self.HALVED] = halve.float().where(due, old[:, self.HALVED])
        table[:, self.RISES] = old[:, self.RISES].where(~due, 0.0)
        return halve, table


AUTO_PGD = UPDATE_RULES.register(AutoPGD())
