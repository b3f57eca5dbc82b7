"""How far an iterate is from its clean image, by arithmetic apart from the attack's own."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import Tensor

from advassay.attacks.norm_balls import norm_of
from advassay.spec.attack_spec import Norm

ON_BOUNDARY = 1 - 1e-5
"""|δ| this close to ε, as a ratio, counts as on it …"""
ROUNDING = 2.0**-24
"""… and this close in pixel values: clean + δ is rounded to float32, by up to half this much just below 1."""


def measure(x: Tensor, clean: Tensor, epsilon: Tensor, norm: Norm) -> Tensor:
    """‖δ‖∞, ‖δ‖₂ and boundary share of each row, float32 (row, 3), computed in float64; `x`, `clean` are float32.

    The share is of pixel values with |δ| ≥ ε (L∞), or 1 where ‖δ‖₂ ≥ ε, else 0 (L2).
    """
    delta = x.double().sub_(clean).abs_().flatten(1)
    edge = epsilon.double() * ON_BOUNDARY - ROUNDING
    linf, l2 = delta.amax(dim=1), torch.linalg.vector_norm(delta, dim=1)
    if norm == "linf":
        share = (delta >= edge[:, None]).sum(dim=1) / delta.shape[1]
    elif norm == "l2":
        share = l2 >= edge
    else:
        assert_never(norm)
    return torch.stack([linf, l2, share.double()], dim=1).float()


def clipped_share(gradient: Tensor, epsilon: Tensor, norm: Norm) -> Tensor:
    """`literal`: share of gradient values with |g| ≥ ε (L∞), or 1 where ‖g‖₂ ≥ ε, else 0 (L2); float32 (row,)."""
    if norm == "l2":
        return (norm_of(gradient, norm) >= epsilon).float()
    if norm != "linf":
        assert_never(norm)
    return (gradient.abs().flatten(1) >= epsilon[:, None]).double().mean(dim=1).float()
