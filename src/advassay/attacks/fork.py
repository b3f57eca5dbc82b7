"""Where rows that share an iterate part: after one gradient, by step size and by what their ε does to the step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from advassay.attack_spec import PGD, Arm
from advassay.attacks.measure import clipped_share, measure
from advassay.attacks.updates import propose, settle
from advassay.attacks.work import Node

AT_ONCE = 2**19
"""Pixel values that are projected and measured together: at the first fork every image may part into every ε at once,
and arithmetic in float64 holds several copies."""


class Forked(NamedTuple):
    """The iterates after one update: one entry per new iterate; `rows` sorted by ε, smallest first."""

    parents: list[Node]
    rows: list[np.ndarray]
    x: list[Tensor]
    """Each its own memory: a view would keep all of them for as long as one waits in the queue."""
    sizes: np.ndarray
    """measure.measure; under `literal`, whose ε bounds the gradient, the share is that of the gradient it clips."""


def fork(nodes: Sequence[Node], x: Tensor, gradient: Tensor, rules: PGD | Arm) -> Forked:
    """One update of every node's rows; rows stay together exactly where they get the same bits."""
    clean = torch.stack([n.work.image for n in nodes])
    branches = [(i, rows) for i, n in enumerate(nodes) for rows in by_step(n)]
    i = [b[0] for b in branches]
    if len(branches) > len(nodes):
        x, clean, gradient = x[i], clean[i], gradient[i]
    step = torch.tensor([float(nodes[i].work.step[rows[0]]) for i, rows in branches], device=x.device)
    proposal, extent = propose(x, clean, gradient, step, rules.update, rules.norm)
    reach = extent.cpu().numpy()
    leaves = [(j, part) for j, (i, rows) in enumerate(branches) for part in by_reach(nodes[i], rows, reach[j])]
    parents, rows = [nodes[i[j]] for j, _ in leaves], [part for _, part in leaves]
    least = [float(parent.work.epsilon[part[0]]) for parent, part in zip(parents, rows, strict=True)]
    epsilon = torch.tensor(least, device=x.device)
    settled: list[Tensor] = []
    sizes: list[Tensor] = []
    whole = len(leaves) == len(branches)
    for piece in torch.arange(len(leaves)).split(max(1, AT_ONCE // x[0].numel())):
        j = slice(piece[0], piece[-1] + 1) if whole else [leaves[k][0] for k in piece.tolist()]
        at, ends = proposal[j], epsilon[piece[0] : piece[-1] + 1]
        moved = settle(x[j], clean[j], at, step[j], ends, rules.update, rules.norm)
        found = measure(moved, clean[j], ends, rules.norm)
        if rules.update == "literal":
            found[:, 2] = clipped_share(at, ends, rules.norm)
        settled += [each.clone() for each in moved.unbind()]
        sizes.append(found)
    return Forked(parents, rows, settled, torch.cat(sizes).cpu().numpy())


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
