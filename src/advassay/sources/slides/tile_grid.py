"""Where the tiles of a slide lie: squares without overlap, whole ones only, at a level or at µm per pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from advassay.sources.slides.slide import Region, Slide
from advassay.spec.tile_spec import TileRules

SAME_MPP = 0.02
"""A level within this relative difference of the resolution asked for is taken as stored."""


@dataclass(frozen=True)
class Grid:
    """side: of a tile in level-0 pixels. read_px: side of what is read at `level`. mpp: of the tile as written."""

    level: int
    read_px: int
    size_px: int
    side: float
    mpp: float | None
    x: np.ndarray
    """int64 (tile,), left edge of each tile in level-0 pixels; row by row from the upper left corner."""
    y: np.ndarray
    """int64 (tile,), upper edge."""

    def boxes(self) -> np.ndarray:
        """float64 (tile, 4): left, upper, right, lower edge in level-0 pixels."""
        return np.stack([self.x, self.y, self.x + self.side, self.y + self.side], axis=1).astype(np.float64)


@dataclass(frozen=True)
class SlideRejected:
    """Why a slide has no tiles."""

    reason: str
    detail: str


def lay_grid(slide: Slide, rules: TileRules) -> Grid | SlideRejected:
    """The tiles of a slide. None where its resolution is unknown or too coarse, the level missing, the slide too small.

    >>> from advassay.sources.slides.slide_readers import ImageSlide
    >>> grid = lay_grid(ImageSlide(np.zeros((1536, 2048, 3), np.uint8), "png"), TileRules(size_px=256))
    >>> len(grid.x), grid.x[:2].tolist(), int(grid.y[-1])
    (48, [0, 256], 1280)
    """
    native = slide.mpp or rules.assume_mpp
    chosen = _at_level(slide, rules) if rules.mpp is None else _at_mpp(slide, rules, rules.mpp, native)
    if isinstance(chosen, SlideRejected):
        return chosen
    level, read_px = chosen
    side = read_px * slide.downsamples[level]
    xs = _starts(slide, 0, level, side)
    ys = _starts(slide, 1, level, side)
    if not len(xs) or not len(ys):
        width, height = slide.bounds[2:]
        return SlideRejected("smaller than a tile", f"{width} × {height} pixels, a tile takes {math.ceil(side)}")
    mpp = None if native is None else native * side / rules.size_px
    return Grid(level, read_px, rules.size_px, side, mpp, np.tile(xs, len(ys)), np.repeat(ys, len(xs)))


def _at_level(slide: Slide, rules: TileRules) -> tuple[int, int] | SlideRejected:
    if rules.level >= len(slide.sizes):
        return SlideRejected("no such level", f"{len(slide.sizes)} levels, level {rules.level} asked for")
    return rules.level, rules.size_px


def _at_mpp(slide: Slide, rules: TileRules, wanted: float, native: float | None) -> tuple[int, int] | SlideRejected:
    if native is None:
        return SlideRejected("no resolution stated", "the file does not say µm per pixel; assume_mpp would")
    fine = [level for level, times in enumerate(slide.downsamples) if native * times <= wanted * (1 + SAME_MPP)]
    if not fine:
        return SlideRejected("too coarse", f"{native:.4g} µm per pixel, {wanted:g} asked for; enlarging invents detail")
    level = max(fine, key=lambda index: slide.downsamples[index])
    ratio = wanted / (native * slide.downsamples[level])
    same = abs(ratio - 1) <= SAME_MPP
    return level, rules.size_px if same else round(rules.size_px * ratio)


def _starts(slide: Slide, axis: int, level: int, side: float) -> np.ndarray:
    """Left (upper) edges along an axis: whole level-0 pixels, at least `side` apart, tiles within bounds and level."""
    first, extent = slide.bounds[axis], slide.bounds[axis + 2]
    end = min(first + extent, math.floor(slide.sizes[level][axis] * slide.downsamples[level] + 1e-6))
    count = max(0, math.floor((end - first - side) / math.ceil(side - 1e-6) + 1e-9) + 1) if end - first >= side else 0
    return first + np.arange(count, dtype=np.int64) * math.ceil(side - 1e-6)


def read_tile(slide: Slide, grid: Grid, index: int) -> Region | None:
    """The tile's pixels, (size_px, size_px) or (size_px, size_px, 3), as stored or area-averaged; None where damaged.

    Area averaging (cv2.INTER_AREA) is what a coarser scan would have seen, without aliasing.
    """
    region = slide.region(int(grid.x[index]), int(grid.y[index]), grid.level, grid.read_px, grid.read_px)
    if region is None or grid.read_px == grid.size_px:
        return region
    shrunk = cv2.resize(np.ascontiguousarray(region.pixels), (grid.size_px,) * 2, interpolation=cv2.INTER_AREA)
    return Region(shrunk, region.scanned)
