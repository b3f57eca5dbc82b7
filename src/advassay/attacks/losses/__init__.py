"""What an attack climbs: one number an image, float32, larger = closer to what the attacker wants.

z are the logits, y the label, t the target, p = softmax(z). Each image's value depends on its own logits only, so
callers sum over the batch and every image gets its own gradient, whatever its neighbours. The losses there are:

| loss | untargeted | targeted |
|---|---|---|
| cross-entropy | −log p_y | log p_t |
| probability | −p_y (Kovalev & Voynov 2019, formula 1) | p_t |
| margin | max_{j≠y} z_j − z_y (Carlini & Wagner 2017, κ = ∞) | z_t − max_{j≠t} z_j |
| dlr | Croce & Hein 2020 (arXiv 2003.01690), eq. 6; 3 or more classes | eq. 7; 4 or more classes |

Each file of this folder registers its own. They are looked up where nobody has torch (study files, old records), so
they import it inside functions only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from advassay.spec.attack_components import LOSSES

if TYPE_CHECKING:
    from torch import Tensor


def attack_loss(logits: Tensor, labels: Tensor, loss: str, targets: Tensor | None = None) -> Tensor:
    """The value to ascend, float32 (image,).

    `logits` (image, class) of any float dtype, lifted to float32 first; `labels`, `targets` int64 (image,).

    >>> import torch
    >>> attack_loss(torch.tensor([[2.0, 0.5]]), torch.tensor([0]), "margin")
    tensor([-1.5000])
    """
    value: Tensor = LOSSES.get(loss).value(logits.float(), labels, targets)
    return value
