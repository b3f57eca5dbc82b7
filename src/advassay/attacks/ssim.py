"""Structural similarity (Wang et al. 2004), many image pairs at once; the same numbers as scikit-image's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

AT_ONCE = 2**19
"""Pixel values of the pairs that are compared together: a dozen float64 copies of them are held."""


def similarities(pairs: Sequence[tuple[Tensor, Tensor]]) -> list[float]:
    """`ssim` of pairs of images (channel, height, width), the same bits whichever pairs come together."""
    return [float(value) for part in _parts(pairs) for value in ssim(*map(torch.stack, zip(*part, strict=True))).cpu()]


def _parts(pairs: Sequence[tuple[Tensor, Tensor]]) -> Iterator[Sequence[tuple[Tensor, Tensor]]]:
    size = max(1, AT_ONCE // pairs[0][0].numel()) if pairs else 1
    return (pairs[i : i + size] for i in range(0, len(pairs), size))


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Mean SSIM of each pair, float32 (image,), in [−1, 1].

    `first`, `second` (image, channel, height, width) in [0, 1]. Uniform 7×7 windows wholly inside the image (or the
    largest odd window that fits), sample covariance, K₁ = 0.01, K₂ = 0.03, data range 1, mean over channels:
    scikit-image's defaults.
    """
    side = min(7, *first.shape[2:])
    window = side if side % 2 else side - 1
    pixels = window * window
    a, b = first.double(), second.double()
    mean_a, mean_b = functional.avg_pool2d(a, window, 1), functional.avg_pool2d(b, window, 1)
    unbiased = pixels / (pixels - 1) if pixels > 1 else 1.0
    variance_a = unbiased * (functional.avg_pool2d(a * a, window, 1) - mean_a * mean_a)
    variance_b = unbiased * (functional.avg_pool2d(b * b, window, 1) - mean_b * mean_b)
    covariance = unbiased * (functional.avg_pool2d(a * b, window, 1) - mean_a * mean_b)
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
    each = luminance * structure
    return torch.stack(
        [image.mean() for image in each]
    ).float()  # one by one: a sum's last bits depend on its neighbours
