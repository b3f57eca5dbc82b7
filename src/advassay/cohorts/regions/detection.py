"""A region of one image: a box in whole pixels, how sure it is, or why there is none."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from advassay.cohorts.regions.thorax_finder import Thorax

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
