"""The attack, as short as it can be said: gradient, step, project, clip. The engine is proved equal to this.

Madry et al. 2018 (arXiv 1706.06083) and Kurakin et al. 2017 (projected-sign); Kovalev & Voynov 2019, formula 1, in two
readings (projected-gradient, literal). Iterate 0 is the clean image (or the random start), iterate k the point after
k updates, so iterate k of a long run is the end of a k-step run.

Its step and projection are written out here and nowhere else: code shared with the engine could hide an error in both.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from advassay.attacks.losses import attack_loss
from advassay.attacks.random_init import random_start
from advassay.spec.attack_spec import PGD, resolve_step_size


def iterates(
    classifier: nn.Module,
    images: Tensor,
    labels: Tensor,
    attack: PGD,
    *,
    targets: Tensor | None = None,
    image_ids: list[str] | None = None,
    restart: int = 0,
) -> Iterator[Tensor]:
    """Yield x₀ … x_K, float32 (image, channel, height, width) in [0, 1].

    `classifier`: images in [0, 1] → logits, in eval mode. `targets` int64 (image,) if the attack is targeted.
    `image_ids` key the random start; by default "0", "1", … Raises ValueError for an update that is not one of the
    three (apgd is compared with torchattacks' instead).
    """
    if attack.update not in ("projected-sign", "projected-gradient", "literal"):
        raise ValueError(f"update: expected projected-sign, projected-gradient or literal, got {attack.update}")
    clean, epsilon = images, attack.epsilon
    step = resolve_step_size(attack.step_size, epsilon)
    x = clean
    if attack.random_start:
        ids = image_ids or [str(i) for i in range(len(images))]
        norm, seed = attack.norm, attack.seed
        starts = [random_start(c, epsilon, norm, seed, i, restart) for c, i in zip(clean, ids, strict=True)]
        x = torch.stack(starts)
    yield x
    for _ in range(attack.steps):
        x = x.detach().requires_grad_()
        loss = attack_loss(classifier(x), labels, attack.loss, targets).sum()
        (gradient,) = torch.autograd.grad(loss, x)
        x = x.detach()
        if attack.update == "literal":
            x = x + step * _within(gradient, epsilon, attack.norm)
        else:
            if attack.update == "projected-sign" and attack.norm == "linf":
                gradient = gradient.sign()
            elif attack.update == "projected-sign":
                gradient = gradient / (_lengths(gradient) + 1e-10)
            x = clean + _within(x + step * gradient - clean, epsilon, attack.norm)
        x = x.clamp(0, 1)
        yield x


def _within(values: Tensor, epsilon: float, norm: str) -> Tensor:
    """Each image's values clipped to ±ε (linf), or scaled down to length ε where they are longer (l2)."""
    if norm == "linf":
        return values.clamp(-epsilon, epsilon)
    lengths = _lengths(values)
    return torch.where(lengths > epsilon, values * (torch.tensor(epsilon) / lengths), values)


def _lengths(values: Tensor) -> Tensor:
    """Euclidean length of each image's values, summed in float64; float32 (image, 1, 1, 1)."""
    return values.double().square().sum((1, 2, 3), keepdim=True).sqrt().float()
