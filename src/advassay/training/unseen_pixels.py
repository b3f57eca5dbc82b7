"""Pixels at the edges of an image that a network never sees: strides that do not divide its side leave them over.

An attack cannot use them, and what they show cannot be learned.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import nn

from advassay.errors import TrainingError
from advassay.training.network import build_network, has_fixed_size, minimum_image_size

_TRIES = 16
"""Larger and smaller sides that are tried."""


class UnseenPixels(NamedTuple):
    """rows, columns: numbers of those without influence on any logit. seen_whole: the nearest sides without any."""

    rows: int
    columns: int
    seen_whole: tuple[int, ...]


@lru_cache
def unseen_pixels(architecture: str, size: int) -> UnseenPixels | None:
    """Rows and columns of a `size` × `size` image that cannot change a logit; None where all can.

    Found from the gradient of the logits of a random network at a random image: a row without influence has a gradient
    of exactly zero, whatever the weights. Takes some seconds. None too where the network cannot be run.
    """
    found = _without_influence(architecture, size)
    if found is None or found == (0, 0):
        return None
    sides = (_nearest_seen_whole(architecture, size, direction) for direction in (-1, 1))
    return UnseenPixels(*found, tuple(side for side in sides if side is not None))


def _nearest_seen_whole(architecture: str, size: int, direction: int) -> int | None:
    least = minimum_image_size(architecture)
    sides = (size + direction * distance for distance in range(1, _TRIES + 1))
    return next((side for side in sides if side >= least and _without_influence(architecture, side) == (0, 0)), None)


@lru_cache(maxsize=1)
def _network(architecture: str, size: int | None) -> nn.Module:
    """A network whose every path is open: gains that start at zero would close those of residual blocks."""
    network = build_network(architecture, channels=1, classes=2, image_size_px=size or 0, seed=0).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim <= 1:
                parameter.uniform_(0.5, 1.5, generator=generator)
    return network


def _without_influence(architecture: str, size: int) -> tuple[int, int] | None:
    """(rows, columns) of a zero gradient; None where the network does not take the size."""
    try:
        network = _network(architecture, size if has_fixed_size(architecture) else None)
        image = torch.randn(1, 1, size, size, generator=torch.Generator().manual_seed(size), requires_grad=True)
        (gradient,) = torch.autograd.grad(network(image).sum(), image)
    except (RuntimeError, AssertionError, ValueError, TrainingError):
        return None
    seen = gradient.abs()[0, 0]
    return int((seen.sum(dim=1) == 0).sum()), int((seen.sum(dim=0) == 0).sum())
