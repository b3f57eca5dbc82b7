"""Light augmentation of a batch, vectorised: flip, quarter turns (histology), shift, brightness, contrast."""

from __future__ import annotations

import torch
from torch import Tensor

SHIFT_SHARE = 0.05
BRIGHTNESS = 0.1
CONTRAST = 0.1


def augment_lightly(images: Tensor, *, turns: bool, generator: torch.Generator) -> Tensor:
    """Randomly changed copies, each image on its own.

    images: float32 (image, channel, height, width) in [0, 1]; the result likewise. Horizontal flip (p = 0.5), shift by
    up to 5 % of the side in whole pixels (the border is repeated), contrast about the image's mean by a factor within
    1 ± 0.1, brightness by a factor within 1 ± 0.1. `turns`: also a quarter turn of 0–3 (with the flip: all eight
    symmetries of the square), for tissue, which has no up and down; needs square images.

    Draws come from `generator` (on the processor), so that they do not depend on the device.
    """
    images = _where(_draw(images, generator) < 0.5, images.flip(3), images)
    if turns:
        images = _quarter_turns(images, generator)
    images = _shift(images, generator)
    contrast = 1 + CONTRAST * (2 * _draw(images, generator) - 1)
    brightness = 1 + BRIGHTNESS * (2 * _draw(images, generator) - 1)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return ((mean + (images - mean) * contrast) * brightness).clamp(0, 1)


def _draw(images: Tensor, generator: torch.Generator) -> Tensor:
    """One uniform number in [0, 1) per image, shape (image, 1, 1, 1)."""
    return torch.rand(len(images), 1, 1, 1, generator=generator).to(images.device)


def _where(chosen: Tensor, changed: Tensor, images: Tensor) -> Tensor:
    return torch.where(chosen, changed, images)


def _quarter_turns(images: Tensor, generator: torch.Generator) -> Tensor:
    """0–3 quarter turns as a half turn and a transposition with a flip, each by a coin: uniform over the four."""
    half, quarter = _draw(images, generator) < 0.5, _draw(images, generator) < 0.5
    images = _where(half, images.flip(2, 3), images)
    return _where(quarter, images.transpose(2, 3).flip(2), images)


def _shift(images: Tensor, generator: torch.Generator) -> Tensor:
    for axis in (2, 3):
        side = images.shape[axis]
        most = int(SHIFT_SHARE * side)
        offset = ((2 * most + 1) * _draw(images, generator)).long() - most
        shape = [1, 1, 1, 1]
        shape[axis] = side
        source = (torch.arange(side, device=images.device).view(shape) + offset).clamp(0, side - 1)
        images = images.gather(axis, source.expand_as(images))
    return images
