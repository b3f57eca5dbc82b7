"""A small image of a whole slide, read block by block: memory does not grow with the slide."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from advassay.sources.slides.slide import Slide

LONGEST_PX = 2048
"""Longer side of an overview: what masks and thumbnails are made from."""
_BLOCK_PX = 1024
_SMALLEST_PX = 8
"""Of the overview: a damaged block is halved down to this side, so that a damaged place costs no more."""


@dataclass(frozen=True)
class Overview:
    """pixels: uint8 (height, width, 3) RGB. factor: level-0 pixels per overview pixel along x and y. damaged: share of
    its area that could not be read (white there)."""

    pixels: np.ndarray
    factor: tuple[float, float]
    damaged: float


def overview(slide: Slide, longest_px: int = LONGEST_PX) -> Overview:
    """The slide shrunk by area-averaging of the coarsest level that is still finer; never enlarged."""
    width, height = slide.sizes[0]
    factor = max(1.0, max(width, height) / longest_px)
    size = max(1, round(width / factor)), max(1, round(height / factor))
    level = max(index for index, times in enumerate(slide.downsamples) if times <= factor + 1e-6)
    pixels = np.full((size[1], size[0], 3), 255, np.uint8)
    scale = width / size[0], height / size[1]
    times = slide.downsamples[level]
    step = max(1, int(_BLOCK_PX * times / max(scale)))
    damaged = 0
    for top in range(0, size[1], step):
        for left in range(0, size[0], step):
            part = pixels[top : top + step, left : left + step]
            damaged += _fill(part, slide, level, left, top, scale)
    return Overview(pixels, scale, damaged / (size[0] * size[1]))


def _fill(part: np.ndarray, slide: Slide, level: int, left: int, top: int, scale: tuple[float, float]) -> int:
    """Write the slide into `part` of the overview, whose corner is (left, top); returns how many pixels are damaged."""
    rows, columns = part.shape[:2]
    times = slide.downsamples[level]
    x, y = round(left * scale[0]), round(top * scale[1])
    wide = max(1, round(columns * scale[0] / times))
    high = max(1, round(rows * scale[1] / times))
    region = slide.region(x, y, level, wide, high)
    if region is not None:
        part[:] = cv2.resize(as_rgb8(region.pixels, slide.white), (columns, rows), interpolation=cv2.INTER_AREA)
        return 0
    if max(rows, columns) <= _SMALLEST_PX:
        return rows * columns
    middle, centre = (rows + 1) // 2, (columns + 1) // 2
    quarters = ((0, 0), (0, centre), (middle, 0), (middle, centre))
    pieces = [(down, right, part[down : down + middle, right : right + centre]) for down, right in quarters]
    return sum(
        _fill(piece, slide, level, left + right, top + down, scale) for down, right, piece in pieces if piece.size
    )


def as_rgb8(pixels: np.ndarray, white: int | None = None) -> np.ndarray:
    """Grey or RGB, 8 or 16 bits → uint8 (height, width, 3). `white`: the 16-bit value that becomes 255.

    >>> as_rgb8(np.full((1, 1), 65535, np.uint16)).tolist()
    [[[255, 255, 255]]]
    """
    eight = pixels
    if pixels.dtype == np.uint16 and (white is None or white >= 65535):
        eight = (pixels >> 8).astype(np.uint8)
    elif pixels.dtype == np.uint16 and white is not None:
        eight = (np.minimum(pixels, white).astype(np.uint32) * 255 // white).astype(np.uint8)
    return np.ascontiguousarray(np.stack([eight] * 3, axis=2) if eight.ndim == 2 else eight)
