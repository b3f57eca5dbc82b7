"""How wrong steering is on a network, before an attack: a few images and steps along their gradient, both ways."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from advassay.attacks.attack_step import GradientModel
from advassay.success import margin

PAIRS = 32
"""Comparisons made, or as many as one batch holds."""
IMAGES = 4
"""Images they are made on, each at several distances from the clean one."""
NEAREST_STEP, FARTHEST_STEP = 2.0**-12, 2.0**-4
"""Range of those distances: below what fells an undefended network, and the middle of a usual grid."""


def measure_margin_error(
    steering: GradientModel,
    judging: GradientModel,
    images: Tensor,
    labels: Tensor,
    targets: Tensor | None,
    batch_size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """(|steered margin|, |float32 margin − steered margin|) of the comparisons, float64 (comparison,).

    `images` float32 (image, channel, height, width) in [0, 1]; `labels` and `targets` (of a targeted attack, whose
    margins are the targets') int64 (image,). Every pass has `batch_size` images, as the attack's own have.
    """
    images, labels = images[:IMAGES], labels[:IMAGES]
    targets = None if targets is None else targets[:IMAGES]
    # The surrogate's gradient: the attack will look for the boundary where this one leads.
    gradient = torch.cat(
        [steering.gradient(x, y, t)[1][:kept] for x, y, t, kept in _batches(images, labels, targets, batch_size)]
    )
    each = -(-max(PAIRS, min(batch_size, 2 * PAIRS)) // len(images))
    # Spread evenly over orders of magnitude: nobody knows yet how far from the image the boundary is.
    steps = [0.0, *np.geomspace(NEAREST_STEP, FARTHEST_STEP, max(each - 1, 1)).tolist()]
    distances = torch.tensor(steps, dtype=torch.float32, device=images.device)
    moved = (images[:, None] + distances[:, None, None, None] * gradient.sign()[:, None]).clamp(0, 1).flatten(0, 1)
    wanted = (labels if targets is None else targets).repeat_interleave(len(distances))
    parts = _batches(moved, wanted, None, batch_size)
    low, high = (
        margin(torch.cat([net.score(x)[:kept] for x, _, _, kept in parts]).cpu().numpy(), wanted.cpu().numpy())
        for net in (steering, judging)
    )
    return np.abs(low), np.abs(high - low)


def _batches(
    images: Tensor, labels: Tensor, targets: Tensor | None, batch_size: int
) -> list[tuple[Tensor, Tensor, Tensor | None, int]]:
    """Parts of `batch_size`, the last one padded with its first image; with how many are real."""
    parts = []
    for begin in range(0, len(images), batch_size):
        count = min(batch_size, len(images) - begin)
        index = torch.tensor([*range(begin, begin + count)] + [begin] * (batch_size - count), device=images.device)
        parts.append((images[index], labels[index], None if targets is None else targets[index], count))
    return parts
