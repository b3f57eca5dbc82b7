"""Random starts and random noise, keyed by content: the same image gets the same draw in any batch, shard or order."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import Tensor

from advassay.identity import draw
from advassay.spec.attack_spec import Norm


def random_start(clean: Tensor, epsilon: float, norm: Norm, seed: int, image_id: str, restart: int) -> Tensor:
    """A point drawn uniformly from the ε-ball around `clean` (channel, height, width), clipped to [0, 1].

    The draw depends on (seed, image_id, restart) alone and is scaled by ε.
    """
    generator = torch.Generator("cpu").manual_seed(draw(seed, image_id, restart) >> 1)
    if norm == "linf":
        unit = torch.rand(clean.shape, generator=generator, device="cpu") * 2 - 1
    elif norm == "l2":
        gaussian = torch.randn(clean.shape, generator=generator, device="cpu")
        radius = torch.rand((), generator=generator, dtype=torch.float64, device="cpu") ** (1 / clean.numel())
        unit = gaussian / gaussian.norm() * radius.float()
    else:
        assert_never(norm)
    return (clean + epsilon * unit.to(clean.device)).clamp(0, 1)


def sign_noise(clean: Tensor, epsilon: float, norm: Norm, seed: int, image_id: str) -> Tensor:
    """`clean` and random signs of size ε in the norm, clipped to [0, 1]: an attack's amplitude without its aim.

    L∞: every pixel value ± ε; L2: ± ε/√n of n values, so that the whole is ε long.
    """
    generator = torch.Generator("cpu").manual_seed(draw(seed, image_id, "noise") >> 1)
    signs = torch.randint(0, 2, clean.shape, generator=generator, device="cpu") * 2.0 - 1
    if norm == "linf":
        amplitude = epsilon
    elif norm == "l2":
        amplitude = epsilon / clean.numel() ** 0.5
    else:
        assert_never(norm)
    return (clean + amplitude * signs.to(clean.device)).clamp(0, 1)


def noise_of_same_size(clean: Tensor, attacked: Tensor, seed: int, image_id: str) -> Tensor:
    """`clean` with every pixel value changed by as much as in `attacked`, up or down at random, clipped to [0, 1].

    Both (channel, height, width) in [0, 1]. So the noise has the perturbation's size in every norm, but for what
    clipping takes from it, and none of its aim. The draw depends on (seed, image_id) alone.
    """
    generator = torch.Generator("cpu").manual_seed(draw(seed, image_id, "transfer noise") >> 1)
    signs = torch.randint(0, 2, clean.shape, generator=generator, device="cpu") * 2.0 - 1
    return (clean + (attacked - clean).abs() * signs.to(clean.device)).clamp(0, 1)
