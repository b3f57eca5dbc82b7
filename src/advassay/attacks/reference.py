"""The attack, as short as it can be said: gradient, step, project, clip. The engine is proved equal to this.

Madry et al. 2018 (arXiv 1706.06083) and Kurakin et al. 2017 (projected-sign); Kovalev & Voynov 2019, formula 1, in two
readings (projected-gradient, literal). Iterate 0 is the clean image (or the random start), iterate k the point after
k updates, so iterate k of a long run is the end of a k-step run.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from advassay.attack_spec import PGD, resolve_step_size
from advassay.attacks.losses import attack_loss
from advassay.attacks.start import random_start
from advassay.attacks.updates import direction, shrink


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
    `image_ids` key the random start; by default "0", "1", …
    """
    clean, epsilon = images, torch.full((len(images),), attack.epsilon)
    step = resolve_step_size(attack.step_size, attack.epsilon)
    x = clean
    if attack.random_start:
        ids = image_ids or [str(i) for i in range(len(images))]
        norm, seed = attack.norm, attack.seed
        starts = [random_start(c, attack.epsilon, norm, seed, i, restart) for c, i in zip(clean, ids, strict=True)]
        x = torch.stack(starts)
    yield x
    for _ in range(attack.steps):
        x = x.detach().requires_grad_()
        loss = attack_loss(classifier(x), labels, attack.loss, targets).sum()
        (gradient,) = torch.autograd.grad(loss, x)
        if attack.update == "literal":
            moved = x.detach() + step * shrink(gradient, epsilon, attack.norm)
        else:  # updates.py knows no other rule than those that project
            moved = x.detach() + step * direction(gradient, attack.update, attack.norm)
            moved = clean + shrink(moved - clean, epsilon, attack.norm)
        x = moved.clamp(0, 1)
        yield x
