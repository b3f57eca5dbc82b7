"""Structural similarity (Wang et al. 2004); the same numbers as scikit-image's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def similarities(pairs: Sequence[tuple[Tensor, Tensor]]) -> list[float]:
    """`ssim` of pairs of images (channel, height, width), the same bits whichever pairs come together."""
    found = [ssim(a[None], b[None]) for a, b in pairs]
    return torch.cat(found).tolist() if found else []


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Mean SSIM of each pair, float32 (image,), in [−1, 1].

    `first`, `second` (image, channel, height, width) in [0, 1]. Uniform 7×7 windows wholly inside the image (or the
    largest odd window that fits), sample covariance, K₁ = 0.01, K₂ = 0.03, data range 1, mean over channels:
    scikit-image's defaults.
    """
    planes = zip(first.flatten(0, 1), second.flatten(0, 1), strict=True)  # one by one they stay in the cache
    return torch.stack([_plane(a, b) for a, b in planes]).unflatten(0, first.shape[:2]).mean(1).float()


def _plane(first: Tensor, second: Tensor) -> Tensor:
    """Mean SSIM of two channels (height, width), float64 ()."""
    side = min(7, *first.shape)
    window = side if side % 2 else side - 1
    pixels = window * window
    a, b = first[None].double(), second[None].double()
    mean_a, mean_b = _mean(a, window), _mean(b, window)
    unbiased = pixels / (pixels - 1) if pixels > 1 else 1.0
    variance_a = unbiased * (_mean(a * a, window) - mean_a * mean_a)
    variance_b = unbiased * (_mean(b * b, window) - mean_b * mean_b)
    covariance = unbiased * (_mean(a * b, window) - mean_a * mean_b)
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
    return (luminance * structure).mean()


def _mean(values: Tensor, window: int) -> Tensor:
    """Means over square windows; down, then across: 14 sums a pixel where a 7×7 window takes 49."""
    return functional.avg_pool2d(functional.avg_pool2d(values, (window, 1), 1), (1, window), 1)
