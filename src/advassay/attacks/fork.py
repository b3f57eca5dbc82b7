"""Where rows that share an iterate part: after one gradient, by step size and by what their ε does to the step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from advassay.attack_spec import PGD, Arm
from advassay.attacks.updates import propose, settle
from advassay.attacks.work import Node


class Forked(NamedTuple):
    """The iterates after one update. All have one entry per new iterate; `rows` sorted by ε, smallest first."""

    parents: list[Node]
    rows: list[np.ndarray]
    x: Tensor
    clean: Tensor
    proposal: Tensor
    """What was projected (literal: clipped) to give the iterate: updates.propose."""
    epsilon: Tensor
    """The smallest amplitude of the rows, float32."""


def fork(nodes: Sequence[Node], x: Tensor, gradient: Tensor, rules: PGD | Arm) -> Forked:
    """One update of every node's rows; rows stay together exactly where they get the same bits."""
    clean = torch.stack([n.work.image for n in nodes])
    branches = [(i, rows) for i, n in enumerate(nodes) for rows in by_step(n)]
    i = [b[0] for b in branches]
    step = torch.tensor([float(nodes[i].work.step[rows[0]]) for i, rows in branches], device=x.device)
    proposal, extent = propose(x[i], clean[i], gradient[i], step, rules.update, rules.norm)
    reach = extent.cpu().numpy()
    leaves = [(j, part) for j, (i, rows) in enumerate(branches) for part in by_reach(nodes[i], rows, reach[j])]
    j, owner, rows = [leaf[0] for leaf in leaves], [i[leaf[0]] for leaf in leaves], [leaf[1] for leaf in leaves]
    least = [float(nodes[o].work.epsilon[r[0]]) for o, r in zip(owner, rows, strict=True)]
    epsilon = torch.tensor(least, device=x.device)
    settled = settle(x[owner], clean[owner], proposal[j], step[j], epsilon, rules.update, rules.norm)
    return Forked([nodes[o] for o in owner], rows, settled, clean[owner], proposal[j], epsilon)


def by_step(node: Node) -> Iterator[np.ndarray]:
    """The node's rows, parted by step size."""
    if len(node.rows) == 1:
        yield node.rows
        return
    steps = node.work.step[node.rows]
    for step in np.unique(steps):
        yield node.rows[steps == step]


def by_reach(node: Node, rows: np.ndarray, extent: np.float32) -> Iterator[np.ndarray]:
    """The rows, parted by ε: all amplitudes the proposal stays within go on together, each smaller one alone."""
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
