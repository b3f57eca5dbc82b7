"""Which tiles are worth keeping: tissue and marker ink on the overview, blankness and sharpness of a tile."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from scipy import ndimage

from advassay.sources.read_failures import Unreadable
from advassay.sources.slides.overview_image import as_rgb8
from advassay.sources.slides.slide import Region
from advassay.spec.tile_spec import TileRules

SATURATION = (0.05, 0.15)
"""Otsu's threshold on the saturation (HSV) of a coloured slide stays within these: glass lies below, stains above."""
DARKNESS = (0.15, 0.40)
"""The same for 1 − value of a grey image."""
LEAST_SIGNAL = 0.04
"""Least difference between the ground and the brightest spots of a fluorescence image, as a share of the range; below
it there is noise only."""
NUCLEI_REACH = 0.5
"""Ground between fluorescent nuclei is tissue where they are closer than twice this share of a tile's side."""
BLACK = 0.10
"""Value below which a brightfield pixel is a shadow or an edge, whose saturation is noise."""
BRIGHT = 0.5
"""Median value above which an image is no fluorescence image."""
SPECK = 1 / 16
"""Patches of tissue, and holes in it, smaller than this share of a tile's area are ignored."""
INK_SATURATION = 0.5
"""Ink is more saturated than stains, averaged over a few µm; haematoxylin and eosin are purple and pink."""
INK_HUES = ((0.22, 0.47), (0.52, 0.66))
"""Hues (0 … 1) of green and of blue ink. Red ink is not told from eosin and blood."""
INK_BLACK = 0.20
"""Value below which a pixel with little colour is black ink."""

Kind = Literal["brightfield", "fluorescence", "any"]


def wrong_ground(pixels: np.ndarray, kind: Kind) -> str | None:
    """Why `kind` cannot be what an overview, uint8 (height, width, 3), shows: half of it is too dark or too bright."""
    middle = float(np.median(pixels.max(axis=2))) / 255
    if kind == "brightfield" and middle < BLACK:
        return "dark ground"
    return "bright ground" if kind == "fluorescence" and middle > BRIGHT else None


def tissue_mask(pixels: np.ndarray, kind: Kind, tile_area: float) -> np.ndarray:
    """bool (height, width): where an overview, uint8 (height, width, 3) RGB, shows tissue.

    tile_area: of a tile, in overview pixels.
    """
    if kind == "any":
        return np.ones(pixels.shape[:2], bool)
    saturation, value = _saturation_and_value(pixels)
    if kind == "fluorescence":
        return _fluorescent_tissue(value, tile_area)
    if saturation.max() == 0:
        mask = 1 - value >= _bounded_otsu(1 - value, DARKNESS)
    else:
        mask = (saturation >= _bounded_otsu(saturation, SATURATION)) & (value >= BLACK)
    least = tile_area * SPECK
    return ~_without_specks(~_without_specks(mask, least), least)


def _fluorescent_tissue(value: np.ndarray, tile_area: float) -> np.ndarray:
    """Where spots brighter than the ground lie densely, the ground between them included.

    A nuclear stain covers a tenth of a tissue, in spots far smaller than a tile: they are found by Otsu's threshold
    on the square root of the brightness above the ground, single bright pixels are opened away, and gaps are closed up
    to NUCLEI_REACH.
    """
    smooth = cv2.blur(value, (3, 3))
    ground, top = np.percentile(smooth, (2, 99.8))
    if top - ground < LEAST_SIGNAL:
        return np.zeros(value.shape, bool)
    above = np.sqrt(np.clip((value - ground) / (top - ground), 0, 1))
    spots = ndimage.binary_opening(above >= otsu_threshold(above), np.ones((3, 3), bool))
    closed = _closed(spots, max(1, round(NUCLEI_REACH * float(np.sqrt(tile_area)))))
    return _without_specks(closed, tile_area * SPECK)


def _closed(mask: np.ndarray, radius: int) -> np.ndarray:
    """`mask` closed by a disc, by distances: the time does not grow with the radius."""
    if not mask.any():
        return mask
    padded = np.pad(mask, radius + 1)
    wide = cv2.distanceTransform((~padded).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) <= radius
    if wide.all():
        return np.ones(mask.shape, bool)
    whole = cv2.distanceTransform(wide.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) > radius
    return (whole | padded)[radius + 1 : -radius - 1, radius + 1 : -radius - 1]


def ink_mask(pixels: np.ndarray) -> np.ndarray:
    """bool (height, width): where an overview, uint8 (height, width, 3) RGB, shows green, blue or black marker ink.

    Thin lines and single dark nuclei are opened away (3 × 3). On a grey image ink cannot be told from tissue.
    """
    saturation, value = _saturation_and_value(pixels)
    if saturation.max() == 0:
        return np.zeros(saturation.shape, bool)
    hue = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV_FULL)[:, :, 0] / np.float32(255)
    coloured = np.zeros(hue.shape, bool)
    for low, high in INK_HUES:
        coloured |= (hue >= low) & (hue <= high)
    coloured &= saturation >= INK_SATURATION
    black = (value < INK_BLACK) & (saturation < INK_SATURATION)
    return ndimage.binary_opening(coloured | black, np.ones((3, 3), bool))


def share_of_boxes(mask: np.ndarray, boxes: np.ndarray, factor: tuple[float, float]) -> np.ndarray:
    """float64 (box,): share of each box, (box, 4) in level-0 pixels, that `mask` covers.

    >>> mask = np.array([[True, False], [True, False]])
    >>> share_of_boxes(mask, np.array([[0.0, 0, 20, 20], [0, 0, 10, 10]]), (10.0, 10.0)).tolist()
    [0.5, 1.0]
    """
    sums = cv2.integral(mask.astype(np.uint8), sdepth=cv2.CV_64F)
    height, width = mask.shape
    left = np.clip(np.round(boxes[:, 0] / factor[0]).astype(np.int64), 0, width - 1)
    top = np.clip(np.round(boxes[:, 1] / factor[1]).astype(np.int64), 0, height - 1)
    right = np.clip(np.round(boxes[:, 2] / factor[0]).astype(np.int64), left + 1, width)
    bottom = np.clip(np.round(boxes[:, 3] / factor[1]).astype(np.int64), top + 1, height)
    inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return inside / ((right - left) * (bottom - top))


def _saturation_and_value(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 (height, width) each, 0 … 1, as HSV has them."""
    largest = pixels.max(axis=2).astype(np.float32)
    spread = largest - pixels.min(axis=2)
    return spread / np.maximum(largest, 1), largest / 255


def otsu_threshold(values: np.ndarray) -> float:
    """The threshold that separates two groups of values best, from 256 equal bins (Otsu 1979,
    doi:10.1109/TSMC.1979.4310076): the middle of the bin after which the variance between the groups is largest.

    values: float, any shape, not all equal.

    >>> round(otsu_threshold(np.array([0.1, 0.12, 0.11, 0.8, 0.82, 0.81])), 3)
    0.121
    """
    numbers, edges = np.histogram(values, bins=256)
    counts, middles = numbers.astype(np.float32), (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])[::-1]
    mean_below = np.cumsum(counts * middles) / below
    mean_above = (np.cumsum((counts * middles)[::-1]) / above[::-1])[::-1]
    between = below[:-1] * above[1:] * (mean_below[:-1] - mean_above[1:]) ** 2
    return float(middles[np.argmax(between)])


def _bounded_otsu(values: np.ndarray, bounds: tuple[float, float]) -> float:
    if values.min() == values.max():
        return bounds[0]
    return float(np.clip(otsu_threshold(values), *bounds))


def _without_specks(mask: np.ndarray, least: float) -> np.ndarray:
    labels, count = ndimage.label(mask)
    if not count:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return (sizes >= least)[labels] & mask


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
