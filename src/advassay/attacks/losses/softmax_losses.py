"""Losses of the softmax: cross-entropy, and the probability itself.

Their gradient is rounded away in float32 once z_y is about 17 (true class part) to 104 (all of it) above the others.
So images that show it are attacked again under the margin, which does not saturate (masked_gradient_rerun.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from advassay.spec.attack_components import LOSSES, LossFacts

if TYPE_CHECKING:
    from torch import Tensor


class CrossEntropy(LossFacts):
    """−log p_y; targeted log p_t."""

    name = "cross-entropy"
    summary = "the cross-entropy of the true class rises"
    description = "L is the cross-entropy of the true class"
    rerun_loss = "margin"

    def value(self, logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
        from torch.nn import functional

        if targets is None:
            return functional.cross_entropy(logits, labels, reduction="none")
        return -functional.cross_entropy(logits, targets, reduction="none")


class Probability(LossFacts):
    """−p_y (Kovalev & Voynov 2019, formula 1); targeted p_t."""

    name = "probability"
    summary = "the softmax probability of the true class falls"
    description = "L is minus the softmax probability of the true class, whose gradient vanishes as it nears 1"
    rerun_loss = "margin"

    def value(self, logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
        wanted, sign = (labels, -1.0) if targets is None else (targets, 1.0)
        return sign * logits.softmax(dim=1).gather(1, wanted[:, None])[:, 0]


CROSS_ENTROPY = LOSSES.register(CrossEntropy())
PROBABILITY = LOSSES.register(Probability())
