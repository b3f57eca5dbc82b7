"""Auto-PGD (Croce & Hein 2020, arXiv 2003.01690, algorithm 1): momentum, step halving by progress, best point kept.

Needs no step size: it begins with 2ε and halves it at checkpoints where the loss stops rising. Nothing is shared
between amplitudes, so rows run side by side in constant batches, all in float32 through the unmodified network.
Iterate k of the record is the point kept after k updates (a fallen one before any that stands, then the larger loss):
what the attack would hand back if it were stopped there. So under apgd success is never lost again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from math import ceil

import numpy as np
import torch
from torch import Tensor

from advassay.attack_spec import PGD, Arm, Norm
from advassay.attacks.flags import failure_flags
from advassay.attacks.fork import AT_ONCE
from advassay.attacks.losses import attack_loss, logit_margin
from advassay.attacks.measure import measure
from advassay.attacks.network import Network
from advassay.attacks.ssim import ssim
from advassay.attacks.start import random_start
from advassay.attacks.updates import column, direction, shrink
from advassay.attacks.work import Work, has_fallen
from advassay.trajectory import Cost

MOMENTUM = 0.75  # α of the paper: weight of the new step against the last one
PROGRESS = 0.75  # ρ: share of updates that must raise the loss for the step to be kept


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


class ApgdEngine:
    """Runs images handed in with `add` to their end, a batch of rows at a time; the face of engine.Engine."""

    judge = None

    def __init__(
        self,
        network: Network,
        rules: PGD | Arm,
        *,
        cost: Cost,
        batch_size: int,
        keep_images: Callable[[str], bool],
        first_success_only: bool = False,
    ) -> None:
        self.network, self.rules, self.cost = network, rules, cost
        self.first_success_only = first_success_only
        self.batch_size, self.keep_images = batch_size, keep_images
        self._queue: list[tuple[Work, int]] = []
        self._ahead = 1

    @property
    def hungry(self) -> bool:
        return len(self._queue) < self.batch_size * self._ahead

    @property
    def idle(self) -> bool:
        return not self._queue

    def add(self, work: Work) -> None:
        first = [i for i, r in enumerate(work.rows) if r.restart == 0]
        if self.first_success_only:
            self._ahead = max(self._ahead, len(first))  # enough images at hand to fill a batch with one amplitude
        self._begin(work, first)

    def reopen(self, work: Work) -> bool:
        """Never, every score is float32 already: the image's record is settled, and its flags follow."""
        work.flags = failure_flags(work)
        return False

    def run_batch(self) -> list[Work]:
        """Run one batch of rows from start to end; returns the images that are complete now."""
        if self.first_success_only:  # rows of one amplitude tend to fall together, and then their batch ends early
            waiting = Counter(float(work.epsilon[row]) for work, row in self._queue)
            most = max(waiting, key=lambda epsilon: (waiting[epsilon], epsilon))
            self._queue.sort(key=lambda entry: entry[0].epsilon[entry[1]] != most)
        asked, self._queue = self._queue[: self.batch_size], self._queue[self.batch_size :]
        rows = asked + self._early_restarts(asked)
        padded = rows + rows[:1] * (self.batch_size - len(rows))
        last, taken = None, 0
        for step, (logits, gradient_norm, sizes, kept) in enumerate(self._iterates(padded)):
            for i, (work, row) in enumerate(rows):
                if work.retired[row]:
                    continue
                work.logits[row, step], work.gradient_norm[row, step] = logits[i], gradient_norm[i]
                work.linf[row, step], work.l2[row, step], work.boundary_share[row, step] = sizes[i]
                work.scored_float32[row, step] = True
                work.nan_gradient[row] |= step < self.rules.steps and bool(np.isnan(gradient_norm[i]))
            last, taken = kept, step
            if self.first_success_only:
                self._retire(rows, step)
                if all(work.retired[row] for work, row in asked):
                    break
        assert last is not None
        self.cost.forward_passes += len(rows) * (1 + (0 < taken == self.rules.steps))  # the clean image, the last point
        self.cost.gradient_evaluations += len(rows) * min(taken + 1, self.rules.steps)
        computed = {(id(work), row): last[i] for i, (work, row) in enumerate(rows)}
        for work, row in asked:
            self._end(work, row, computed)
        touched = {id(work): work for work, _ in asked}
        return [work for work in touched.values() if not work.open]

    def _early_restarts(self, asked: list[tuple[Work, int]]) -> list[tuple[Work, int]]:
        """Restarts that the rows of an unfilled batch may need next: cheaper there than in a batch of their own."""
        later = (
            [(work, other) for work, row in asked if (other := work.restart_of(row, ahead)) is not None]
            for ahead in range(1, self.rules.restarts)
        )
        return list(chain.from_iterable(later))[: self.batch_size - len(asked)]

    def _begin(self, work: Work, rows: list[int]) -> None:
        work.ran[rows] = True
        work.open += len(rows)
        self._queue += [(work, row) for row in rows]

    def _retire(self, rows: list[tuple[Work, int]], step: int) -> None:
        """End the rows that are decided wrongly at this step.

        They stay in the batch, whose shape is constant, but nothing later of theirs is recorded.
        """
        for work, row in rows:
            if step and not work.retired[row] and has_fallen(work, work.logits[row, step]):
                work.retire(np.array([row]), step + 1)

    def _iterates(self, rows: list[tuple[Work, int]]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, Tensor]]:
        """Logits (row, class), gradient norms (row,), sizes and pixels of the kept point, for steps 0 … K."""
        rules, network = self.rules, self.network
        clean = torch.stack([work.image for work, _ in rows])
        labels = torch.tensor([work.label for work, _ in rows], device=clean.device)
        targets = torch.tensor([work.target for work, _ in rows], device=clean.device) if rules.targeted else None
        epsilon = torch.tensor([float(work.epsilon[row]) for work, row in rows], device=clean.device)
        x = torch.stack([self._start(work, row) for work, row in rows])
        state = _State(clean, epsilon, x, rules)
        first = network.score(clean)
        at_zero = first.cpu().numpy()
        for step in range(rules.steps):
            logits, gradient = network.gradient(state.x, labels, targets)
            norms = torch.linalg.vector_norm(gradient.flatten(1), dim=1, dtype=torch.float64).float().cpu().numpy()
            state.judge(logits, labels, targets, gradient.nan_to_num(nan=0.0))
            shown = (at_zero, clean) if step == 0 else (state.kept_logits.cpu().numpy(), state.kept)
            yield shown[0], norms, _sizes(shown[1], clean, epsilon, rules.norm), shown[1]
            state.update(step)
        logits = network.score(state.x) if rules.steps else first
        state.judge(logits, labels, targets, None)
        nothing = np.full(len(rows), np.nan, np.float32)
        yield state.kept_logits.cpu().numpy(), nothing, _sizes(state.kept, clean, epsilon, rules.norm), state.kept

    def _start(self, work: Work, row: int) -> Tensor:
        r, rules = work.rows[row], self.rules
        if rules.steps and (rules.random_start or r.restart):
            return random_start(work.image, r.epsilon, rules.norm, rules.seed, work.image_id, r.restart)
        return work.image

    def _end(self, work: Work, row: int, computed: Mapping[tuple[int, int], Tensor]) -> None:
        """Close a row, and begin its restart where it stands; `computed`: (id of the work, row) → the batch's last
        points, early restarts among them. Those that turn out not to be needed never count as run."""
        kept = computed[id(work), row]
        if not work.retired[row]:
            work.ssim[row] = ssim(work.image[None], kept[None]).item()
        if self.keep_images(work.image_id) and not work.retired[row]:
            work.final[row] = kept.cpu().numpy().copy()
        work.open -= 1
        again = None if work.retired[row] else work.next_restart(row)
        if again is not None:
            self._begin(work, [again])
            if (id(work), again) in computed:
                self._queue.pop()
                self._end(work, again, computed)


class _State:
    """Where every row of a batch is: its point, the last one, its step size, and the best it has found."""

    def __init__(self, clean: Tensor, epsilon: Tensor, x: Tensor, rules: PGD | Arm) -> None:
        self.clean, self.epsilon, self.rules = clean, epsilon, rules
        self.x, self.before = x, x
        self.step = 2 * epsilon
        self.gradient = torch.zeros_like(x)
        self.best, self.best_gradient = x, self.gradient
        self.best_loss = torch.full_like(epsilon, -torch.inf)
        self.kept, self.kept_logits = x, torch.empty(0)
        self.kept_loss, self.kept_fallen = self.best_loss, torch.zeros_like(epsilon, dtype=torch.bool)
        self._loss = torch.full_like(epsilon, torch.inf)  # the start itself is no rise
        self._rises = torch.zeros_like(epsilon)
        self._checkpoints, self._last_check = checkpoints(rules.steps), 0
        self._best_at_check, self._halved = self.best_loss, torch.ones_like(self.kept_fallen)

    def judge(self, logits: Tensor, labels: Tensor, targets: Tensor | None, gradient: Tensor | None) -> None:
        """Take in the loss (and gradient) at x: best point for the schedule, kept point for the record."""
        loss = attack_loss(logits, labels, self.rules.loss, targets).detach()
        self._rises += (loss > self._loss).float()
        self._loss = loss
        if gradient is not None:
            self.gradient = gradient
            better = loss > self.best_loss
            self.best_loss = torch.where(better, loss, self.best_loss)
            self.best = torch.where(column(better), self.x, self.best)
            self.best_gradient = torch.where(column(better), gradient, self.best_gradient)
        fallen = logit_margin(logits, labels) < 0 if targets is None else logit_margin(logits, targets) > 0
        take = (fallen & ~self.kept_fallen) | ((fallen == self.kept_fallen) & (loss > self.kept_loss))
        take = take if self.kept_logits.numel() else torch.ones_like(take)
        self.kept_logits = torch.where(take[:, None], logits, self.kept_logits if self.kept_logits.numel() else logits)
        self.kept = torch.where(column(take), self.x, self.kept)
        self.kept_loss = torch.where(take, loss, self.kept_loss)
        self.kept_fallen = self.kept_fallen | fallen

    def update(self, step: int) -> None:
        """The next point: halve and go back to the best where progress stopped, then a step with momentum."""
        if step in self._checkpoints:
            self._check(step)
        norm = self.rules.norm
        ahead = self._project(self.x + column(self.step) * direction(self.gradient, "projected-sign", norm))
        if step == 0:
            moved = ahead
        else:
            momentum = MOMENTUM * (ahead - self.x) + (1 - MOMENTUM) * (self.x - self.before)
            moved = self._project(self.x + momentum)
        self.before, self.x = self.x, moved

    def _check(self, step: int) -> None:
        period = step - self._last_check
        stuck = ~self._halved & (self._best_at_check >= self.best_loss)
        halve = (self._rises <= PROGRESS * period) | stuck
        self.step = torch.where(halve, self.step / 2, self.step)
        self.x = torch.where(column(halve), self.best, self.x)
        self.gradient = torch.where(column(halve), self.best_gradient, self.gradient)
        self._last_check, self._best_at_check, self._halved = step, self.best_loss, halve
        self._rises = torch.zeros_like(self._rises)

    def _project(self, x: Tensor) -> Tensor:
        return (self.clean + shrink(x - self.clean, self.epsilon, self.rules.norm)).clamp(0, 1)


def _sizes(x: Tensor, clean: Tensor, epsilon: Tensor, norm: Norm) -> np.ndarray:
    """measure.measure as NumPy, a few rows at a time: float64 holds several copies."""
    n = max(1, AT_ONCE // x[0].numel())
    pieces = zip(x.split(n), clean.split(n), epsilon.split(n), strict=True)
    return torch.cat([measure(a, b, e, norm) for a, b, e in pieces]).cpu().numpy()
