"""The attack, as short as it can be said: gradient, step, project, clip. The engine is proved equal to this.

Madry et al. 2018 (arXiv 1706.06083) and Kurakin et al. 2017; Kovalev & Voynov 2019, formula 1, in two readings.
Iterate 0 is the clean image (or the random start), iterate k the point after k updates, so iterate k of a long run is
the end of a k-step run.

Its step and projection are written out here and nowhere else: code shared with the engine could hide an error in both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import assert_never

import torch
from torch import Tensor, nn

from advassay.attacks.losses import attack_loss
from advassay.attacks.random_init import random_start
from advassay.spec.attack_spec import PGD, Norm, resolve_step_size


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
    `image_ids` key the random start; by default "0", "1", … Raises ValueError for an update that is not one of
    WRITTEN_OUT.
    """
    if attack.update not in WRITTEN_OUT:
        raise ValueError(f"update: expected one of {', '.join(WRITTEN_OUT)}, got {attack.update}")
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
        x = WRITTEN_OUT[attack.update](x.detach(), clean, gradient, step, epsilon, attack.norm).clamp(0, 1)
        yield x


def _projected_sign(x: Tensor, clean: Tensor, gradient: Tensor, step: float, epsilon: float, norm: Norm) -> Tensor:
    return clean + _within(x + step * _steepest(gradient, norm) - clean, epsilon, norm)


def _projected_gradient(x: Tensor, clean: Tensor, gradient: Tensor, step: float, epsilon: float, norm: Norm) -> Tensor:
    return clean + _within(x + step * gradient - clean, epsilon, norm)


def _clipped_gradient(x: Tensor, clean: Tensor, gradient: Tensor, step: float, epsilon: float, norm: Norm) -> Tensor:
    return x + step * _within(gradient, epsilon, norm)


WRITTEN_OUT: dict[str, Callable[[Tensor, Tensor, Tensor, float, float, Norm], Tensor]] = {
    "projected-sign": _projected_sign,
    "projected-gradient": _projected_gradient,
    "literal": _clipped_gradient,
}
"""Update rule → the point after one step, before it is clipped to [0, 1]. Rules with a state are compared with other
libraries instead."""


def _steepest(gradient: Tensor, norm: Norm) -> Tensor:
    """The gradient's signs (linf), or the gradient over its length (l2); 1e-10 is torchattacks', against 0 / 0."""
    if norm == "linf":
        return gradient.sign()
    if norm == "l2":
        return gradient / (_lengths(gradient) + 1e-10)
    assert_never(norm)


def _within(values: Tensor, epsilon: float, norm: Norm) -> Tensor:
    """Each image's values clipped to ±ε (linf), or scaled down to length ε where they are longer (l2)."""
    if norm == "linf":
        return values.clamp(-epsilon, epsilon)
    if norm == "l2":
        lengths = _lengths(values)
        return torch.where(lengths > epsilon, values * (torch.tensor(epsilon) / lengths), values)
    assert_never(norm)


def _lengths(values: Tensor) -> Tensor:
    """Euclidean length of each image's values, summed in float64; float32 (image, 1, 1, 1)."""
    return values.double().square().sum((1, 2, 3), keepdim=True).sqrt().float()
