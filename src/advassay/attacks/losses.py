"""What an attack climbs: one number an image, float32, larger = closer to what the attacker wants.

z are the logits, y the label, t the target, p = softmax(z). Each image's value depends on its own logits only, so
callers sum over the batch and every image gets its own gradient, whatever its neighbours.

| loss | untargeted | targeted |
|---|---|---|
| cross-entropy | −log p_y | log p_t |
| probability | −p_y (Kovalev & Voynov 2019, formula 1) | p_t |
| margin | max_{j≠y} z_j − z_y (Carlini & Wagner 2017, κ = ∞) | z_t − max_{j≠t} z_j |
| dlr | Croce & Hein 2020 (arXiv 2003.01690), eq. 6; 3 or more classes | eq. 7; 4 or more classes |

Cross-entropy and probability are computed by softmax, so their gradient is rounded away once z_y is about 17
(true class part) to 104 (all of it) above the others in float32; margin and dlr do not saturate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from advassay.spec.attack_spec import Loss, check_complete


def attack_loss(logits: Tensor, labels: Tensor, loss: Loss, targets: Tensor | None = None) -> Tensor:
    """The value to ascend, float32 (image,).

    `logits` (image, class) of any float dtype, lifted to float32 first; `labels`, `targets` int64 (image,).

    >>> attack_loss(torch.tensor([[2.0, 0.5]]), torch.tensor([0]), "margin")
    tensor([-1.5000])
    """
    return LOSSES[loss].value(logits.float(), labels, targets)


def logit_margin(logits: Tensor, classes: Tensor) -> Tensor:
    """Logit of each image's class minus the largest other logit, (image,); negative = not decided for it."""
    own = torch.zeros_like(logits, dtype=torch.bool).scatter(1, classes[:, None], True)
    return _pick(logits, classes) - logits.masked_fill(own, -torch.inf).max(dim=1).values


def minimum_classes(loss: Loss, targeted: bool) -> int:
    """Classes the loss needs to be defined."""
    return LOSSES[loss].minimum_classes[targeted]


def _cross_entropy(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    if targets is None:
        return functional.cross_entropy(logits, labels, reduction="none")
    return -functional.cross_entropy(logits, targets, reduction="none")


def _probability(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    wanted, sign = (labels, -1.0) if targets is None else (targets, 1.0)
    return sign * _pick(torch.softmax(logits, dim=1), wanted)


def _margin(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    return -logit_margin(logits, labels) if targets is None else logit_margin(logits, targets)


def _pick(values: Tensor, classes: Tensor) -> Tensor:
    return values.gather(1, classes[:, None])[:, 0]


def _dlr(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    ordered = logits.sort(dim=1, descending=True).values
    if targets is None:
        return -logit_margin(logits, labels) / (ordered[:, 0] - ordered[:, 2] + 1e-12)
    spread = ordered[:, 0] - 0.5 * (ordered[:, 2] + ordered[:, 3]) + 1e-12
    return -(_pick(logits, labels) - _pick(logits, targets)) / spread


class _Entry(NamedTuple):
    """A loss, and what is to be known of it."""

    value: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    """(logits float32 (image, class), labels, targets) → (image,)."""
    minimum_classes: tuple[int, int]
    """Untargeted, targeted."""


LOSSES: dict[Loss, _Entry] = {
    "cross-entropy": _Entry(_cross_entropy, (2, 2)),
    "probability": _Entry(_probability, (2, 2)),
    "margin": _Entry(_margin, (2, 2)),
    "dlr": _Entry(_dlr, (3, 4)),
}
"""Every loss there is: the only place where one is registered."""
check_complete("loss", Loss, LOSSES)
