"""Where the region of an image is: from the thorax of a chest X-ray, a fixed share of the image, or a mask.

A region is a box in whole pixels with how sure it is, or the reason why there is none.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from advassay.cohorts.regions.thorax_finder import AORTIC_ARCH, LEFT_LUNG, RIGHT_LUNG, TYPICAL_WIDTH_MM, Thorax
from advassay.sources.image_decoder import read_image
from advassay.sources.read_failures import Unreadable
from advassay.spec.cohort_spec import RegionSpec

# ---- a region of one image -------------------------------------------------------------------------------------------

LEAST_PX = 8
"""Boxes with a shorter side are refused."""
MOST_MOVED = 0.1
"""A box that reaches beyond the image is moved inside, by at most this share of its side."""


class Box(NamedTuple):
    """Pixels left ≤ column < right, top ≤ row < bottom of the stored image."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def sides(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.right - self.left, self.bottom - self.top

    def cut(self, pixels: np.ndarray) -> np.ndarray:
        """The part of (height, width) or (height, width, 3) pixels inside the box."""
        return pixels[self.top : self.bottom, self.left : self.right].copy()


class Detection(NamedTuple):
    """What became of one image: `box` and `confidence` (0 … 1), or `reason`; the thorax where one was looked for."""

    box: Box | None
    confidence: float
    reason: str | None = None
    thorax: Thorax | None = None


def placed(
    middle: tuple[float, float], sides: tuple[float, float], image: tuple[int, int], confidence: float, thorax: Thorax
) -> Detection:
    """A box of `sides` (width, height) around `middle` (x, y), moved inside an image of (width, height) if need be."""
    edges = []
    for centre, side, length in zip(middle, sides, image, strict=True):
        whole = round(side)
        start = round(centre - side / 2)
        inside = min(max(start, 0), length - whole)
        if whole > length or abs(inside - start) > MOST_MOVED * side:
            return Detection(None, confidence, "region: reaches beyond the image", thorax)
        edges.append((inside, inside + whole))
    (left, right), (top, bottom) = edges
    return large_enough(Detection(Box(left, top, right, bottom), confidence, None, thorax))


def large_enough(found: Detection) -> Detection:
    """`found`, or a reason where its box is smaller than `LEAST_PX`."""
    if found.box is not None and min(found.box.sides) < LEAST_PX:
        return found._replace(box=None, reason=f"region: smaller than {LEAST_PX} pixels")
    return found


# ---- where it is -----------------------------------------------------------------------------------------------------

Spacing = tuple[float, float]
"""Millimetres from one pixel to the next, down and across."""

LEAST_FIT, SURE_FIT = 0.25, 0.65
"""Correlation with the drawing at which confidence is 0, and from which on it is 1."""
LEAST_WIDTH, SURE_WIDTH = 0.30, 0.45
"""Likewise the thorax's share of the image's width: a small fit is a coincidence more often than a far-away patient."""
LEAST_LEAD, SURE_LEAD = -0.1, 0.0
"""Likewise how much better the image fits than its negative and than itself turned."""
LEAST_ASPECT, SURE_ASPECT = 0.4, 0.8
"""Likewise the thorax's height over its width: an outline much wider than high ends in the middle of the lungs."""
LEAST_CLOSED, SURE_CLOSED = -0.2, 0.25
"""Likewise how much brighter it is below the outline than in the lungs."""
LEAST_INSIDE, SURE_INSIDE = -0.05, 0.01
"""Likewise how far the outline stays from the image's edge, as a share of the image's side; below 0 it lies beyond."""
PLAUSIBLE_MM = (120.0, 420.0)
"""Inner widths of a thorax, children included, that a pixel spacing may give."""

_OUTLINES = {
    "left-lung": LEFT_LUNG,
    "right-lung": RIGHT_LUNG,
    "lungs": np.vstack([LEFT_LUNG, RIGHT_LUNG]),
}


def chest_region(thorax: Thorax | None, image: tuple[int, int], rule: RegionSpec, spacing: Spacing | None) -> Detection:
    """The box that `rule.find` names in an image of (width, height) pixels with this thorax.

    No minimum confidence is applied: that is `apply_regions.py`'s. `spacing`: of the stored pixels, None where not
    known.
    """
    if thorax is None:
        return Detection(None, 0.0, "region: no thorax")
    sure = confidence(thorax, image)
    if rule.find == "aorta":
        return _arch(thorax, image, rule.side_mm, spacing, sure)
    outline = _OUTLINES[str(rule.find)]
    corners = np.array([thorax.at(*outline.min(axis=0)), thorax.at(*outline.max(axis=0))])
    return _with_margin(corners, image, rule.margin, Detection(None, sure, None, thorax))


def confidence(thorax: Thorax, image: tuple[int, int]) -> float:
    """0 … 1: how much this is the whole thorax of an upright frontal chest X-ray of (width, height) pixels; a
    heuristic, not a probability.

    >>> confidence(Thorax(10, 10, 70, 70, fit=0.75, lead=0.1), (100, 100))
    1.0
    >>> confidence(Thorax(10, 10, 70, 70, fit=0.75, lead=-0.3), (100, 100))
    0.0
    """
    across, down = thorax.left + thorax.width, thorax.top + thorax.height
    edge = min(thorax.left / image[0], 1 - across / image[0], thorax.top / image[1], 1 - down / image[1])
    doubts = (
        (thorax.fit, LEAST_FIT, SURE_FIT),
        (thorax.lead, LEAST_LEAD, SURE_LEAD),
        (thorax.width / image[0], LEAST_WIDTH, SURE_WIDTH),
        (thorax.height / thorax.width, LEAST_ASPECT, SURE_ASPECT),
        (thorax.closed, LEAST_CLOSED, SURE_CLOSED),
        (edge, LEAST_INSIDE, SURE_INSIDE),
    )
    return float(np.clip([(value - least) / (sure - least) for value, least, sure in doubts], 0, 1).prod())


def _arch(thorax: Thorax, image: tuple[int, int], side_mm: float, spacing: Spacing | None, sure: float) -> Detection:
    if spacing is None:
        side = side_mm / TYPICAL_WIDTH_MM * thorax.width
        return placed(thorax.at(*AORTIC_ARCH), (side, side), image, sure, thorax)
    down, across = spacing
    if not PLAUSIBLE_MM[0] <= thorax.width * across <= PLAUSIBLE_MM[1]:
        return Detection(None, sure, "region: implausible size of the thorax in mm", thorax)
    return placed(thorax.at(*AORTIC_ARCH), (side_mm / across, side_mm / down), image, sure, thorax)


def _with_margin(corners: np.ndarray, image: tuple[int, int], margin: float, found: Detection) -> Detection:
    """The box from corner (x, y) to corner, widened by `margin` of its sides and cut at the image's edge."""
    spare = margin * (corners[1] - corners[0])
    low = np.clip(np.floor(corners[0] - spare), 0, image).astype(int)
    high = np.clip(np.ceil(corners[1] + spare), 0, image).astype(int)
    return large_enough(found._replace(box=Box(*map(int, (*low, *high)))))


def widened(box: Box, image: tuple[int, int], margin: float) -> Detection:
    """`box` with a margin, surely known."""
    return _with_margin(np.array([box[:2], box[2:]], float), image, margin, Detection(None, 1.0))


def share_of(image: tuple[int, int], box: tuple[float, float, float, float]) -> Detection:
    """The box with edges at these shares (left, top, right, bottom) of an image of (width, height) pixels.

    >>> share_of((200, 100), (0.25, 0.0, 0.75, 1.0)).box
    Box(left=50, top=0, right=150, bottom=100)
    """
    width, height = image
    edges = (round(share * side) for share, side in zip(box, (width, height, width, height), strict=True))
    return large_enough(Detection(Box(*edges), 1.0))


def around_mask(path: str | None, folder: Path, image: tuple[int, int], margin: float) -> Detection:
    """The box around all that is not 0 in the mask image at `path` inside `folder`, of the image's own size."""
    if not path:
        return Detection(None, 0.0, "region: no mask stated")
    mask = read_image(folder / path, folder.resolve())
    if isinstance(mask, Unreadable):
        return Detection(None, 0.0, f"region: mask {mask.reason}")
    marked = mask if mask.ndim == 2 else mask.max(axis=2)
    if marked.shape != image[::-1]:
        return Detection(None, 0.0, "region: mask of another size than its image")
    rows, columns = np.flatnonzero(marked.any(axis=1)), np.flatnonzero(marked.any(axis=0))
    if not len(rows):
        return Detection(None, 0.0, "region: empty mask")
    tight = Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return widened(tight, image, margin)
