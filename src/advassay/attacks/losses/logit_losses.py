"""Losses of the logits themselves, which do not saturate: the margin, and the difference of logits ratio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advassay.spec.attack_components import LOSSES, LossFacts

if TYPE_CHECKING:
    from torch import Tensor


class Margin(LossFacts):
    """max_{j≠y} z_j − z_y (Carlini & Wagner 2017, κ = ∞); targeted z_t − max_{j≠t} z_j."""

    name = "margin"
    summary = "the largest other logit minus the true class's logit rises"
    description = "L is the largest other logit minus the true class's logit"
    rerun_loss = None

    def value(self, logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
        return -_logit_margin(logits, labels) if targets is None else _logit_margin(logits, targets)


class DifferenceOfLogitsRatio(LossFacts):
    """Croce & Hein 2020 (arXiv 2003.01690), equation 6; targeted equation 7. Invariant to the scale of the logits."""

    name = "dlr"
    summary = "the difference of logits ratio rises (3 or more classes, targeted 4)"
    description = "L is the difference of logits ratio"
    source = "Croce and Hein 2020"
    minimum_classes = (3, 4)
    rerun_loss = None

    def value(self, logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
        ordered = logits.sort(dim=1, descending=True).values
        # 1e-12 as in the authors' code: it keeps equal logits from a division by 0.
        if targets is None:
            return -_logit_margin(logits, labels) / (ordered[:, 0] - ordered[:, 2] + 1e-12)
        spread = ordered[:, 0] - 0.5 * (ordered[:, 2] + ordered[:, 3]) + 1e-12
        return -(_pick(logits, labels) - _pick(logits, targets)) / spread


def _logit_margin(logits: Tensor, classes: Tensor) -> Tensor:
    """Logit of each image's class minus the largest other logit, (image,); negative = not decided for it."""
    import torch

    own = torch.zeros_like(logits, dtype=torch.bool).scatter(1, classes[:, None], True)
    return _pick(logits, classes) - logits.masked_fill(own, -torch.inf).max(dim=1).values


def _pick(values: Tensor, classes: Tensor) -> Tensor:
    """The value of each image's class, (image,)."""
    return values.gather(1, classes[:, None])[:, 0]


MARGIN = LOSSES.register(Margin())
DLR = LOSSES.register(DifferenceOfLogitsRatio())
