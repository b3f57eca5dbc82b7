"""Structural similarity (Wang et al. 2004); the same numbers as scikit-image's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

C1, C2 = 0.01**2, 0.03**2
"""(K₁ L)² and (K₂ L)² with K₁ = 0.01, K₂ = 0.03 and data range L = 1: scikit-image's defaults."""


class _Plane(NamedTuple):
    """One channel of an image, float64 (height, width), and its local statistics over every window inside it."""

    values: Tensor
    mean: Tensor
    squared_mean: Tensor
    variance: Tensor


def similarities(pairs: Sequence[tuple[Tensor, Tensor]]) -> list[float]:
    """`ssim` of pairs of images (channel, height, width), the same bits whichever pairs come together.

    Pairs with the very same first image are best given together: its statistics are computed once.
    """
    found, known, planes = [], None, []
    for first, second in pairs:
        if first is not known:
            known, planes = first, [_plane(plane) for plane in first]
        found.append(_mean_over_channels(planes, second))
    return torch.stack(found).tolist() if found else []


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Mean SSIM of each pair, float32 (image,), in [−1, 1].

    `first`, `second` (image, channel, height, width) in [0, 1]. Uniform 7×7 windows wholly inside the image (or the
    largest odd window that fits), sample covariance, mean over channels, constants `C1` and `C2`.
    """
    return torch.stack([_mean_over_channels([_plane(p) for p in a], b) for a, b in zip(first, second, strict=True)])


def _mean_over_channels(planes: Sequence[_Plane], second: Tensor) -> Tensor:
    each = [_similarity(a, _plane(b)) for a, b in zip(planes, second, strict=True)]  # one by one: they stay in cache
    return torch.stack(each).mean().float()


def _plane(channel: Tensor) -> _Plane:
    values = channel.double()
    mean = _means(values)
    squared = mean * mean
    return _Plane(values, mean, squared, _means(values * values).sub_(squared).mul_(_unbiased(values)))


def _similarity(a: _Plane, b: _Plane) -> Tensor:
    """Mean SSIM of two channels, float64 ()."""
    product = a.mean * b.mean
    covariance = _means(a.values * b.values).sub_(product).mul_(_unbiased(a.values))
    shared = product.mul_(2).add_(C1).mul_(covariance.mul_(2).add_(C2))
    return shared.div_((a.squared_mean + b.squared_mean).add_(C1).mul_((a.variance + b.variance).add_(C2))).mean()


def _window(values: Tensor) -> int:
    side = min(7, *values.shape)
    return side if side % 2 else side - 1


def _unbiased(values: Tensor) -> float:
    pixels = _window(values) ** 2
    return pixels / (pixels - 1) if pixels > 1 else 1.0


def _means(values: Tensor) -> Tensor:
    """Means over square windows: sums down, then across, 14 a pixel where a 7×7 window takes 49."""
    window = _window(values)
    for dim in (0, 1):
        size = values.shape[dim] - window + 1
        total = values.narrow(dim, 0, size).clone()
        for offset in range(1, window):
            total += values.narrow(dim, offset, size)
        values = total
    return values.div_(window * window)
