"""The engine: every (image, step size, ε, restart) through constant-shape batches, sharing what is equal.

A node is one iterate that several rows share bit for bit. Climbing a node costs one gradient; then its rows part
where the step size or the projection of their ε makes the next iterate differ (updates.py says when), and each part is
a new node. Batches are filled from the queue with the deepest nodes first, so that forks end before new images
begin and memory stays bounded by the batch, whatever the number of images. Short batches are padded, never ragged.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import numpy as np
import torch
from torch import Tensor

from advassay.attack_spec import PGD, Arm
from advassay.attacks.flags import failure_flags
from advassay.attacks.fork import fork
from advassay.attacks.network import Network
from advassay.attacks.precision import Judge, Verdict, verdicts
from advassay.attacks.ssim import similarities
from advassay.attacks.start import random_start
from advassay.attacks.work import Node, Work, have_fallen
from advassay.trajectory import Cost


class Engine:
    """Runs the update `rules` of an attack over images handed in with `add`, a batch at a time with `run_batch`."""

    def __init__(
        self,
        steering: Network,
        judging: Network,
        rules: PGD | Arm,
        *,
        cost: Cost,
        batch_size: int,
        keep_images: Callable[[str], bool],
        judge: Judge | None = None,
        first_success_only: bool = False,
    ) -> None:
        self.steering, self.judging, self.judge = steering, judging, judge
        self.rules, self.batch_size, self.keep_images = rules, batch_size, keep_images
        self.cost, self.first_success_only = cost, first_success_only
        self._random = rules.random_start and rules.steps > 0
        self._climbing: list[Node] = []
        self._scoring: list[Node] = []
        self._serial = count()

    @property
    def hungry(self) -> bool:
        """Whether another image is wanted to fill the next batch."""
        return len(self._climbing) < self.batch_size and len(self._scoring) < self.batch_size

    @property
    def idle(self) -> bool:
        return not self._climbing and not self._scoring

    def add(self, work: Work) -> None:
        """Queue an image with its declared rows (restart 0)."""
        declared = np.array([i for i, r in enumerate(work.rows) if r.restart == 0])
        self._begin(work, declared)
        if self._random:
            self._ask([self._node(work, work.image, np.arange(len(work.rows)), 0)])

    def run_batch(self) -> list[Work]:
        """Climb or score one batch; returns the images that are complete now."""
        done = self._retire() if self.first_success_only else []
        if len(self._scoring) < self.batch_size and (nodes := self._pick()):
            self._climb(nodes)
            return done
        return done + self._score()

    def reopen(self, work: Work) -> bool:
        """Run again the rows of a complete image of which float32 must judge more; whether there were any.

        Where there are none the image's record is settled, and its flags follow. Rows ended at their first success
        are taken as they are.
        """
        judge = None if self.first_success_only else self.judge
        rows = np.arange(0) if judge is None else judge.settle(work)
        if len(rows):
            self._begin(work, rows)
        else:
            work.held.clear()
            work.flags = failure_flags(work)
        return len(rows) > 0

    def _node(self, work: Work, x: Tensor, rows: np.ndarray, step: int) -> Node:
        return Node(work, x, rows, step, next(self._serial))

    def _begin(self, work: Work, rows: np.ndarray) -> None:
        work.ran[rows] = True
        work.open += len(rows)
        if not self._random:
            self._queue(self._node(work, work.image, rows, 0))
            return
        for row in rows:
            r, rules = work.rows[row], self.rules
            x = random_start(work.image, r.epsilon, rules.norm, rules.seed, work.image_id, r.restart)
            self._queue(self._node(work, x, np.array([row]), 0))

    def _queue(self, node: Node) -> None:
        (self._climbing if node.step < self.rules.steps else self._scoring).append(node)

    def _pick(self) -> list[Node]:
        """The next batch to climb from: the deepest nodes, but none whose success waits for its verdict."""
        if not self.first_success_only:
            self._climbing.sort(key=lambda n: (n.step, -n.serial))
            nodes = self._climbing[-self.batch_size :]
        else:
            self._climbing.sort(key=lambda n: (not self._undecided(n), n.step, -n.serial))
            nodes = [n for n in self._climbing[-self.batch_size :] if not self._undecided(n)]
        if nodes:
            del self._climbing[-len(nodes) :]
        return nodes

    def _undecided(self, node: Node) -> bool:
        return bool((node.work.first_success[node.rows] == 1).any())

    def _retire(self) -> list[Work]:
        """Drop rows whose success is confirmed from the queue; returns the images that are complete by that."""
        touched = {id(n.work): n.work for n in self._climbing if (n.work.first_success[n.rows] == 2).any()}
        for node in self._climbing:
            over = node.work.first_success[node.rows] == 2
            node.work.open -= int(over.sum())
            node.work.retire(node.rows[over], node.step)
            node.rows = node.rows[~over]
        self._climbing = [n for n in self._climbing if len(n.rows)]
        return [work for work in touched.values() if self._complete(work)]

    def _climb(self, nodes: list[Node]) -> None:
        x, labels, targets = self._batch(nodes)
        logits, gradient = (t[: len(nodes)] for t in self.steering.gradient(x, labels, targets))
        self.cost.gradient_evaluations += len(nodes)
        norms = torch.linalg.vector_norm(gradient.flatten(1), dim=1, dtype=torch.float64).float()
        known = torch.cat([logits, norms[:, None]], dim=1).cpu().numpy()  # one copy: a GPU waits once
        values, sizes = known[:, :-1], known[:, -1]
        if np.isnan(sizes).any():
            gradient = gradient.nan_to_num(nan=0.0)
        self._record(nodes, values, sizes)
        if self.judge is not None:
            steered = [i for i, n in enumerate(nodes) if n.step > 0 or not self._random]
            if steered:
                self._ask(self.judge.wanted([nodes[i] for i in steered], values[steered]))
        self._move(nodes, x[: len(nodes)], gradient)

    def _score(self) -> list[Work]:
        nodes = self._scoring[: self.batch_size]
        if not nodes:
            return []
        del self._scoring[: self.batch_size]
        values = self.judging.score(self._batch(nodes)[0])[: len(nodes)].cpu().numpy()
        self.cost.forward_passes += len(nodes)
        steered = verdicts(nodes, np.stack([n.work.steered[n.rows[0], n.step] for n in nodes]))
        for node, before, now, logits in zip(nodes, steered, verdicts(nodes, values), values, strict=True):
            work = node.work
            work.logits[node.rows, node.step] = logits
            work.scored_float32[node.rows, node.step] = True
            if node.step < self.rules.steps:
                self._settle(node, before, now)
        self._end([n for n in nodes if n.step == self.rules.steps])
        touched = {id(n.work): n.work for n in nodes}
        return [work for work in touched.values() if self._complete(work)]

    def _ask(self, nodes: list[Node]) -> None:
        """Queue steered nodes to be scored in float32."""
        for node in nodes:
            node.work.waiting += 1
        self._scoring += nodes

    def _settle(self, node: Node, steered: Verdict, judged: Verdict) -> None:
        """A float32 score that was asked for is there: learn from it."""
        node.work.waiting -= 1
        if self.judge is not None:
            self._ask(self.judge.learn(node, steered, judged))
            self.cost.rescored, self.cost.changed = self.judge.compared, self.judge.changed

    def _batch(self, nodes: list[Node]) -> tuple[Tensor, Tensor, Tensor | None]:
        """The nodes' iterates, labels and targets, padded with the first node to the constant batch size."""
        padded = nodes + nodes[:1] * (self.batch_size - len(nodes))
        x = torch.stack([n.x for n in padded])
        labels = torch.tensor([n.work.label for n in padded], device=x.device)
        if not self.rules.targeted:
            return x, labels, None
        return x, labels, torch.tensor([n.work.target for n in padded], device=x.device)

    def _record(self, nodes: list[Node], logits: np.ndarray, norms: np.ndarray) -> None:
        fell = have_fallen(nodes, logits)
        for node, values, norm, down in zip(nodes, logits, norms, fell, strict=True):
            work, rows, step = node.work, node.rows, node.step
            work.gradient_norm[rows, step] = norm
            if norm != norm:
                work.nan_gradient[rows] = True
            if self._random and step == 0:  # iterate 0 is the clean image, not the random start
                continue
            if self.judge is None:
                work.logits[rows, step], work.scored_float32[rows, step] = values, True
                if down:
                    work.first_success[rows] = 2
            else:
                work.steered[rows, step] = values
                work.logits[rows[~work.scored_float32[rows, step]], step] = values

    def _move(self, nodes: list[Node], before: Tensor, gradient: Tensor) -> None:
        """One update of every node: record how far the new iterates are, queue what goes on."""
        for parent, part, x, (linf, l2, share) in zip(*fork(nodes, before, gradient, self.rules), strict=True):
            child = self._node(parent.work, x, part, parent.step + 1)
            work, step = child.work, child.step
            work.linf[part, step], work.l2[part, step] = linf, l2
            # Only the smallest amplitude of a shared iterate can be at its boundary; the others reach further.
            least = part if len(part) == 1 else part[work.epsilon[part] == work.epsilon[part[0]]]
            work.boundary_share[least, step] = share
            self._queue(child)

    def _end(self, nodes: list[Node]) -> None:
        """Close the nodes' rows and start restarts of survivors."""
        likeness = similarities([(n.work.image, n.x) for n in nodes])
        for node, alike in zip(nodes, likeness, strict=True):
            work, rows = node.work, node.rows
            work.ssim[rows] = alike
            if self.keep_images(work.image_id):
                kept = node.x.cpu().numpy()
                work.final.update({int(r): kept for r in rows})
            work.open -= len(rows)
            for row in rows if self.rules.restarts > 1 else ():
                again = work.next_restart(int(row))
                if again is not None and not work.ran[again]:
                    self._begin(work, np.array([again]))

    @staticmethod
    def _complete(work: Work) -> bool:
        """Whether nothing of an image is left open."""
        return not work.open and not work.waiting
