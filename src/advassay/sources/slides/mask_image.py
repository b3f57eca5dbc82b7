"""A mask image of a slide → the share of every tile that each of its values covers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from advassay.sources.slides.grid import NoGrid
from advassay.sources.slides.regions import CUT_OUT
from advassay.sources.slides.slide import Slide, open_slide
from advassay.sources.unreadable import Unreadable

SAME_SHAPE = 0.01
"""Largest relative difference between the aspect of a mask and of its slide."""
ENOUGH_PX = 64
"""A mask is read at the coarsest level that still has this many pixels along a tile's side."""


def mask_shares(
    path: Path, folder: Path, slide: Slide, boxes: np.ndarray, classes: Mapping[str, str]
) -> tuple[list[str], np.ndarray] | NoGrid:
    """Class names, and float64 (box, class): the share of each box, (box, 4) in level-0 pixels, with its values.

    `classes`: value → class; empty: every value but 0 is a class. Values are read tile by tile.
    """
    mask = open_slide(path, folder)
    if isinstance(mask, Unreadable):
        return NoGrid("unusable mask", f"{mask.reason}: {mask.detail}")
    with mask:
        return _shares(mask, slide, boxes, classes)


def _shares(
    mask: Slide, slide: Slide, boxes: np.ndarray, classes: Mapping[str, str]
) -> tuple[list[str], np.ndarray] | NoGrid:
    across = mask.sizes[0][0] / slide.sizes[0][0]
    down = mask.sizes[0][1] / slide.sizes[0][1]
    if abs(across / down - 1) > SAME_SHAPE:
        return NoGrid("unusable mask", f"{mask.sizes[0][0]} × {mask.sizes[0][1]} pixels: not the slide's shape")
    found: list[dict[str, float]] = []
    for box in boxes * np.array([across, down, across, down]):
        values = _values(mask, box)
        if isinstance(values, NoGrid):
            return values
        found.append(_by_class(values, classes))
    names = sorted({name for shares in found for name in shares} - {CUT_OUT})
    return names, np.array([[shares.get(name, 0.0) for name in names] for shares in found]).reshape(len(boxes), -1)


def _values(mask: Slide, box: np.ndarray) -> np.ndarray | NoGrid:
    left, top = math.floor(box[0] + 0.5), math.floor(box[1] + 0.5)
    right, bottom = max(left + 1, math.floor(box[2] + 0.5)), max(top + 1, math.floor(box[3] + 0.5))
    fine = [level for level, times in enumerate(mask.downsamples) if (right - left) / times >= ENOUGH_PX]
    level = max(fine, default=0)
    times = mask.downsamples[level]
    region = mask.region(left, top, level, max(1, round((right - left) / times)), max(1, round((bottom - top) / times)))
    if region is None:
        return NoGrid("unusable mask", "damaged")
    pixels = region.pixels
    if pixels.ndim == 3 and (pixels != pixels[:, :, :1]).any():
        return NoGrid("unusable mask", "in colour; grey values name the classes")
    return pixels if pixels.ndim == 2 else pixels[:, :, 0]


def _by_class(values: np.ndarray, classes: Mapping[str, str]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for value, count in zip(*np.unique(values, return_counts=True), strict=True):
        name = classes.get(str(value)) if classes else (str(value) if value else None)
        if name is not None:
            shares[name] = shares.get(name, 0.0) + float(count) / values.size
    return shares
