"""Rules about a tile's own pixels: is it scanned whole, does it show anything, is it sharp?"""

from __future__ import annotations

import cv2
import numpy as np

from advassay.slide_spec import TileRules
from advassay.sources.slides.overview import as_rgb8
from advassay.sources.slides.slide import Region
from advassay.sources.unreadable import Unreadable


def sharpness(pixels: np.ndarray, white: int | None = None) -> float:
    """Variance of the Laplacian on the scale 0 … 255, of the channel where it is largest (Pech-Pacheco et al. 2000,
    doi:10.1109/ICPR.2000.903548).

    `pixels`: uint8 or uint16, (height, width) or (height, width, 3) RGB; `white`: the 16-bit value that counts as 255.
    It grows with resolution and contrast: a threshold holds for one mpp and stain. By channel, since a fluorescence
    image may hold one only.

    >>> sharpness(np.zeros((8, 8, 3), np.uint8))
    0.0
    """
    edges = cv2.Laplacian(as_rgb8(pixels, white), cv2.CV_32F)
    return float(edges.var(axis=(0, 1), dtype=np.float64).max())


def is_blank(pixels: np.ndarray) -> bool:
    """Whether all pixels are equal."""
    return bool((pixels == pixels[0, 0]).all())


def rejected(region: Region | None, rules: TileRules, white: int | None = None) -> Unreadable | None:
    """Why a tile is left out for what its pixels show; None where it passes, and for a blank one (see is_blank)."""
    if region is None:
        return Unreadable("damaged", "this part of the slide cannot be decoded")
    if region.scanned < rules.min_scanned:
        return Unreadable("not scanned", f"{region.scanned:.0%} of the tile, at least {rules.min_scanned:.0%}")
    if is_blank(region.pixels):
        return None
    if rules.min_sharpness > 0 and (seen := sharpness(region.pixels, white)) < rules.min_sharpness:
        return Unreadable("blurred", f"sharpness {seen:.3g}, at least {rules.min_sharpness:g}")
    return None
