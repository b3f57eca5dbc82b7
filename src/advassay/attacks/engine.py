"""The engine: every (image, step size, ε, restart) through constant-shape batches, sharing what is equal.

A node is one iterate that several rows share bit for bit. Climbing a node costs one gradient; then its rows part
where the step size or the projection of their ε makes the next iterate differ (updates.py says when), and each part is
a new node. Batches are filled from the queue with the deepest nodes first, so that forks end before new images
begin and memory stays bounded by the batch, whatever the number of images. Short batches are padded, never ragged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import numpy as np
import torch
from torch import Tensor

from advassay.attack_spec import PGD, Arm
from advassay.attacks.flags import failure_flags
from advassay.attacks.measure import measure
from advassay.attacks.network import Network
from advassay.attacks.precision import Judge
from advassay.attacks.ssim import ssim
from advassay.attacks.start import random_start
from advassay.attacks.updates import propose, settle
from advassay.attacks.work import Node, Work
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
    ) -> None:
        self.steering, self.judging, self.judge = steering, judging, judge
        self.rules, self.batch_size, self.keep_images = rules, batch_size, keep_images
        self.cost = cost
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
        if len(self._scoring) >= self.batch_size or not self._climbing:
            return self._score()
        self._climb()
        return []

    def reopen(self, work: Work) -> bool:
        """Run a complete image's doubtful rows again, to score what a wider band holds; whether there were any."""
        rows = np.array([], int) if self.judge is None else self.judge.doubtful(work)
        if len(rows):
            self._begin(work, rows)
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

    def _climb(self) -> None:
        self._climbing.sort(key=lambda n: (n.step, -n.serial))
        nodes = self._climbing[-self.batch_size :]
        del self._climbing[-self.batch_size :]
        x, labels, targets = self._batch(nodes)
        logits, gradient = (t[: len(nodes)] for t in self.steering.gradient(x, labels, targets))
        self.cost.gradient_evaluations += len(nodes)
        norms = torch.linalg.vector_norm(gradient.flatten(1), dim=1, dtype=torch.float64)
        if bool(norms.isnan().any()):
            gradient = gradient.nan_to_num(nan=0.0)
        values = logits.cpu().numpy()
        self._record(nodes, values, norms)
        if self.judge is not None:
            steered = [i for i, n in enumerate(nodes) if n.step > 0 or not self._random]
            self._ask(self.judge.wanted([nodes[i] for i in steered], values[steered]))
        for child in self._advance(nodes, x[: len(nodes)], gradient):
            self._queue(child)

    def _score(self) -> list[Work]:
        nodes = self._scoring[: self.batch_size]
        del self._scoring[: self.batch_size]
        values = self.judging.score(self._batch(nodes)[0])[: len(nodes)].cpu().numpy()
        self.cost.forward_passes += len(nodes)
        for node, logits in zip(nodes, values, strict=True):
            self._settle(node, logits)
        touched = {id(n.work): n.work for n in nodes}
        return [work for work in touched.values() if self._complete(work)]

    def _ask(self, nodes: list[Node]) -> None:
        """Queue steered nodes to be scored in float32."""
        for node in nodes:
            node.work.waiting += 1
        self._scoring += nodes

    def _settle(self, node: Node, logits: np.ndarray) -> None:
        """Record a float32 score; learn from it if the node was steered, close its rows if it is their last."""
        work, steered = node.work, node.work.logits[node.rows[0], node.step].copy()
        work.logits[node.rows, node.step] = logits
        work.scored_float32[node.rows, node.step] = True
        if node.step == self.rules.steps:
            self._end(node)
            return
        work.waiting -= 1
        if self.judge is not None:
            self._ask(self.judge.learn(node, steered, logits))
            self.cost.rescored, self.cost.changed = self.judge.compared, self.judge.changed

    def _batch(self, nodes: list[Node]) -> tuple[Tensor, Tensor, Tensor | None]:
        """The nodes' iterates, labels and targets, padded with the first node to the constant batch size."""
        padded = nodes + nodes[:1] * (self.batch_size - len(nodes))
        x = torch.stack([n.x for n in padded])
        labels = torch.tensor([n.work.label for n in padded], device=x.device)
        if not self.rules.targeted:
            return x, labels, None
        return x, labels, torch.tensor([n.work.target for n in padded], device=x.device)

    def _record(self, nodes: list[Node], logits: np.ndarray, norms: Tensor) -> None:
        sizes = norms.float().cpu().numpy()
        for i, node in enumerate(nodes):
            work = node.work
            work.gradient_norm[node.rows, node.step] = sizes[i]
            if self._random and node.step == 0:  # iterate 0 is the clean image, not the random start
                continue
            open_rows = node.rows[~work.scored_float32[node.rows, node.step]]
            work.logits[open_rows, node.step] = logits[i]
            work.scored_float32[open_rows, node.step] = self.judge is None

    def _advance(self, nodes: list[Node], x: Tensor, gradient: Tensor) -> list[Node]:
        """The nodes after one update, parted where step sizes or projections make the bits differ."""
        update, norm = self.rules.update, self.rules.norm
        clean = torch.stack([n.work.image for n in nodes])
        branches = [(i, rows) for i, n in enumerate(nodes) for rows in _by_step(n)]
        i = [b[0] for b in branches]
        step = torch.tensor([float(nodes[i].work.step[rows[0]]) for i, rows in branches], device=x.device)
        proposal, extent = propose(x[i], clean[i], gradient[i], step, update, norm)
        reach = extent.cpu().numpy()
        leaves = [(j, part) for j, (i, rows) in enumerate(branches) for part in _by_reach(nodes[i], rows, reach[j])]
        j, owner = [leaf[0] for leaf in leaves], [branches[leaf[0]][0] for leaf in leaves]
        least = [float(nodes[o].work.epsilon[rows[0]]) for o, (_, rows) in zip(owner, leaves, strict=True)]
        epsilon = torch.tensor(least, device=x.device)
        settled = settle(x[owner], clean[owner], proposal[j], step[j], epsilon, update, norm)
        children = [
            self._node(nodes[o].work, settled[c], rows, nodes[o].step + 1)
            for c, (o, (_, rows)) in enumerate(zip(owner, leaves, strict=True))
        ]
        self._measure(children, settled, clean[owner], epsilon)
        return children

    def _measure(self, children: list[Node], x: Tensor, clean: Tensor, epsilon: Tensor) -> None:
        """Record how far each new iterate is from its clean image (float64), and its share on the boundary."""
        table = measure(x, clean, epsilon, self.rules.norm)
        for child, (largest, length, on_edge) in zip(children, table, strict=True):
            work, rows, step = child.work, child.rows, child.step
            work.linf[rows, step], work.l2[rows, step] = largest, length
            # Only the smallest amplitude of a shared iterate can be at its boundary; the others reach further.
            work.boundary_share[rows[work.epsilon[rows] == work.epsilon[rows[0]]], step] = on_edge

    def _end(self, node: Node) -> None:
        """Close a node's rows and start restarts of survivors."""
        work, rows = node.work, node.rows
        work.ssim[rows] = ssim(work.image[None], node.x[None]).item()
        if self.keep_images(work.image_id):
            kept = node.x.cpu().numpy()
            work.final.update({int(r): kept for r in rows})
        work.open -= len(rows)
        for row in rows:
            again = work.next_restart(int(row))
            if again is not None and not work.ran[again]:
                self._begin(work, np.array([again]))

    def _complete(self, work: Work) -> bool:
        """Whether nothing of an image is left open; then its flags are set."""
        if work.open or work.waiting:
            return False
        work.flags = failure_flags(work)
        return True


def _by_step(node: Node) -> Iterator[np.ndarray]:
    """The node's rows, parted by step size."""
    if len(node.rows) == 1:
        yield node.rows
        return
    steps = node.work.step[node.rows]
    for step in np.unique(steps):
        yield node.rows[steps == step]


def _by_reach(node: Node, rows: np.ndarray, extent: np.float32) -> Iterator[np.ndarray]:
    """The rows, parted by ε: all amplitudes the proposal stays within go on together, each smaller one alone.

    Each part is sorted by ε, smallest first.
    """
    if len(rows) == 1:
        yield rows
        return
    rows = rows[np.argsort(node.work.epsilon[rows], kind="stable")]
    epsilon = node.work.epsilon[rows]
    together = rows[epsilon >= extent]
    if len(together):
        yield together
    for value in np.unique(epsilon[~(epsilon >= extent)]):
        yield rows[epsilon == value]
