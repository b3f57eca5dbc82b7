"""Does the gradient say how the network changes? Differences of the margin beside autograd's slope, on a few images.

A layer that cuts part of the gradient (detach, rounding or ranking beside a differentiable path, a custom backward)
leaves one that exists and is not zero, so that nothing fails, and that climbs something else than the network.

Judged at a point off every kink (images moved into the range, with a little noise), along four directions: the
gradient's sign, brightness, a smooth random field, random signs. A slope is believed only where the differences to
both sides agree: there the network is straight. A gradient is wrong only where two amplitudes in a row give the same
other slope and none its own, and the smallest amplitude above rounding decides. So a rough network, whose slopes fade
as the amplitude grows, is not judged rather than suspected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

AMPLITUDES = (3e-3, 1e-3, 2e-4)
"""Largest change of a pixel, tried in this order until every direction has agreed or is lost in rounding."""
WITHIN = 0.1
"""Slopes that are the same differ by at most this share of the larger of slope and prediction …"""
WRONG = 0.25
"""… and a slope this share off what the gradient says is wrong."""
NOISE = 20.0
"""Changes count from this many times what rounding alone does to the margin."""


Margin = Callable[[Tensor, Tensor], Tensor]
"""Points float32 (point, channel, height, width) in [0, 1], which image each lies by (point,) → (point,) in logits."""


class GradientCheck(NamedTuple):
    """How often slope and gradient were compared, how often they disagreed, and the worst pair."""

    judged: int
    wrong: int
    seen: float
    said: float
    """Change of the margin per unit of amplitude, in logits, where they disagree most: observed, and predicted."""

    @property
    def suspicious(self) -> bool:
        """A quarter of the comparisons, two at least: a detached mean shows in one direction of four."""
        return self.wrong >= max(2, self.judged / 4)


def jitter_inputs(images: Tensor) -> Tensor:
    """The images moved into [0.01, 0.99] and off exact zeros, ties and grey levels, by seeded noise."""
    noise = torch.rand(images.shape, generator=torch.Generator("cpu").manual_seed(1), device="cpu").to(images.device)
    return 0.02 + 0.95 * images + 0.01 * noise


def compare(margin: Margin, x: Tensor, gradient: Tensor, spacing: float) -> GradientCheck:
    """Compare differences of `margin` around `x` with its `gradient` there.

    `x`, `gradient`: float32 (image, channel, height, width), x in [0, 1]; `spacing`: relative rounding of the margin's
    arithmetic (torch.finfo(…).eps).
    """
    directions = _directions(x, gradient)  # (direction, image, …)
    said = (directions.double() * gradient.double()).flatten(2).sum(2)
    at = margin(x, torch.arange(len(x), device=x.device)).double()
    floor = NOISE * _rounding(margin, x, at, spacing)
    right, wrong = torch.zeros_like(said, dtype=torch.bool), torch.zeros_like(said, dtype=torch.bool)
    seen, before = torch.zeros_like(said), torch.full_like(said, torch.nan)
    for amplitude in AMPLITUDES:
        up, down = _differences(margin, x, directions, at, amplitude, ~right)
        slope = (up + down) / 2
        size = torch.maximum(slope.abs(), said.abs())
        heard = size * amplitude >= floor
        straight = ((up - down).abs() <= WITHIN * size) & heard
        off = straight & ((slope - said).abs() > WRONG * size)
        again = off & ((slope - before).abs() <= WITHIN * size)
        right |= straight & ~off
        wrong = torch.where(heard, again, wrong)
        seen, before = torch.where(again, slope, seen), torch.where(off, slope, torch.nan)
        if bool((right | ~heard).all()):
            break
    wrong &= ~right
    worst = torch.where(wrong, (seen - said).abs(), -1.0).argmax()
    return GradientCheck(
        int((right | wrong).sum()), int(wrong.sum()), float(seen.flatten()[worst]), float(said.flatten()[worst])
    )


def _differences(
    margin: Margin, x: Tensor, directions: Tensor, at: Tensor, amplitude: float, left: Tensor
) -> tuple[Tensor, Tensor]:
    """Slopes of the margin forwards and backwards, float64 (direction, image); NaN but where `left` to be settled."""
    image = torch.arange(len(x), device=x.device).expand_as(left)[left]
    step = amplitude * directions[left]
    ahead, behind = margin(torch.cat([x[image] + step, x[image] - step]), image.repeat(2)).double().chunk(2)
    up, down = (torch.full(left.shape, torch.nan, dtype=torch.float64, device=x.device) for _ in range(2))
    up[left], down[left] = (ahead - at[image]) / amplitude, (at[image] - behind) / amplitude
    return up, down


def _directions(x: Tensor, gradient: Tensor) -> Tensor:
    """(direction, image, channel, height, width), the largest pixel of each 1."""
    generator = torch.Generator("cpu").manual_seed(2)
    channels, *sides = x.shape[1:]
    coarse = torch.rand((1, channels, *(min(4, side) for side in sides)), generator=generator, device="cpu") * 2 - 1
    smooth = functional.interpolate(coarse, tuple(sides), mode="bilinear", align_corners=True)
    signs = (torch.rand((1, *x.shape[1:]), generator=generator, device="cpu") > 0.5).float() * 2 - 1
    each = [(smooth / smooth.abs().max()).to(x.device), signs.to(x.device)]
    return torch.stack([gradient.sign(), torch.ones_like(x), *(d.expand_as(x) for d in each)])


def _rounding(margin: Margin, x: Tensor, at: Tensor, spacing: float) -> float:
    """What rounding does to the margin: the change by a perturbation far too small to matter, or a few spacings."""
    tiny = 1e-6 * (torch.rand(x.shape, generator=torch.Generator("cpu").manual_seed(3), device="cpu") - 0.5).to(
        x.device
    )
    moved = float((margin(x + tiny, torch.arange(len(x), device=x.device)).double() - at).abs().max())
    return max(moved, 10 * spacing * float(at.abs().max()))
