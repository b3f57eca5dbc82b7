"""Structural similarity (Wang et al. 2004); the same numbers as scikit-image's."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

C1, C2 = 0.01**2, 0.03**2
"""(K₁ L)² and (K₂ L)² with K₁ = 0.01, K₂ = 0.03 and data range L = 1: scikit-image's defaults."""
AT_ONCE = 2**16
"""Pixel values worked on together. More would fall out of the processor's cache, fewer cost more in calls."""


class _Planes(NamedTuple):
    """Planes in float64 (plane, 1, height, width), and their local statistics over every window inside."""

    values: Tensor
    mean: Tensor
    squared_mean: Tensor
    variance: Tensor

    def at(self, index: Tensor) -> _Planes:
        return _Planes(*(each[index] for each in self))


def similarities(first: Tensor, second: Tensor, of: Tensor) -> Tensor:
    """`ssim` of each image of `second` with the one of `first` that `of` (int64) says, float32 (image,).

    The same bits whichever images come together. Statistics of `first` are computed once for all that share it.
    """
    channels = second.shape[1]
    # Channel by channel: a large image's planes stay in the cache one by one, a small one's go together anyway.
    of = (of[:, None] * channels + torch.arange(channels, device=of.device)).flatten()
    first, second = first.flatten(0, 1)[:, None], second.flatten(0, 1)[:, None]
    order = torch.argsort(of, stable=True)
    found = torch.empty(len(second), dtype=torch.float64, device=second.device)
    together = max(1, AT_ONCE // second[0].numel()) if len(second) else 1
    for planes in torch.arange(len(first), device=of.device).split(together):
        mine = order[torch.searchsorted(of[order], planes[0]) : torch.searchsorted(of[order], planes[-1] + 1)]
        statistics = _statistics(first[planes])
        for part in mine.split(together):
            place = of[part] - planes[0]
            alone = len(planes) == 1 == len(part)  # a large plane's statistics are not copied
            found[part] = _similarity(statistics if alone else statistics.at(place), _statistics(second[part]))
    return found.view(-1, channels).mean(dim=1).float()


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Mean SSIM of each pair, float32 (image,), in [−1, 1].

    `first`, `second` (image, channel, height, width) in [0, 1]. Uniform 7×7 windows wholly inside the image (or the
    largest odd window that fits), sample covariance, mean over channels, constants `C1` and `C2`.
    """
    return similarities(first, second, torch.arange(len(first), device=first.device))


def _statistics(planes: Tensor) -> _Planes:
    values = planes.double()
    mean = _means(values)
    squared = mean * mean
    return _Planes(values, mean, squared, _means(values * values).sub_(squared).mul_(_unbiased(values)))


def _similarity(a: _Planes, b: _Planes) -> Tensor:
    """Mean SSIM of pairs of planes over all positions, float64 (plane,)."""
    product = a.mean * b.mean
    covariance = _means(a.values * b.values).sub_(product).mul_(_unbiased(a.values))
    shared = product.mul_(2).add_(C1).mul_(covariance.mul_(2).add_(C2))
    local = shared.div_((a.squared_mean + b.squared_mean).add_(C1).mul_((a.variance + b.variance).add_(C2)))
    # Axis by axis, the last one first: each sum is then over contiguous values of one plane, whatever the others are.
    return local.mean(dim=3).mean(dim=2)[:, 0]


def _window(values: Tensor) -> int:
    side = min(7, *values.shape[2:])
    return side if side % 2 else side - 1


def _unbiased(values: Tensor) -> float:
    pixels = _window(values) ** 2
    return pixels / (pixels - 1) if pixels > 1 else 1.0


def _means(values: Tensor) -> Tensor:
    """Means over square windows: sums down, then across, 14 a pixel where a 7×7 window takes 49."""
    window = _window(values)
    for dim in (2, 3):
        size = values.shape[dim] - window + 1
        total = values.narrow(dim, 0, size).clone()
        for offset in range(1, window):
            total += values.narrow(dim, offset, size)
        values = total
    return values.div_(window * window)
