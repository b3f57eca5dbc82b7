"""Annotated regions and mask images → the share of every tile that each class covers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from advassay.sources.read_failures import Unreadable
from advassay.sources.slides.slide import Slide
from advassay.sources.slides.slide_opener import open_slide
from advassay.sources.slides.tile_grid import SlideRejected

CUT_OUT = "-"
"""In place of a class: the region belongs to no class, whatever else covers it."""


class Outline(NamedTuple):
    """One region as a file has it: its name and its area, perhaps invalid."""

    name: str
    area: BaseGeometry


@dataclass(frozen=True)
class RegionFile:
    """What a region file holds: outlines in level-0 pixels, and what in it was no area: reason → count."""

    outlines: tuple[Outline, ...]
    skipped: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Regions:
    """areas: class → its area in level-0 pixels, cut-outs removed. mended: how many outlines crossed themselves."""

    areas: Mapping[str, BaseGeometry]
    mended: int


def merge(outlines: Iterable[Outline], classes: Mapping[str, str], offset: tuple[int, int] = (0, 0)) -> Regions:
    """Outlines → one area a class. `classes`: see SlideClasses.regions. `offset` is added to every coordinate.

    An outline that crosses itself is mended (shapely.make_valid, what GEOS takes as its inside) and counted.
    """
    parts: dict[str, list[BaseGeometry]] = {}
    mended = 0
    for name, area in outlines:
        wanted = classes.get(name) if classes else name
        if wanted is None:
            continue
        if not area.is_valid:
            area, mended = _areas_of(shapely.make_valid(area)), mended + 1
        parts.setdefault(wanted, []).append(shapely.transform(area, lambda points: points + np.asarray(offset)))
    cut = shapely.union_all(parts.pop(CUT_OUT, []))
    return Regions({name: shapely.difference(shapely.union_all(areas), cut) for name, areas in parts.items()}, mended)


def _areas_of(geometry: BaseGeometry) -> BaseGeometry:
    """The polygons of what make_valid gave, without stray lines and points."""
    polygons = [part for part in shapely.get_parts(geometry) if part.geom_type in ("Polygon", "MultiPolygon")]
    return shapely.union_all(polygons)


def shares(regions: Regions, boxes: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Class names, and float64 (box, class): the share of each box, (box, 4) in level-0 pixels, in each class's area.

    >>> square = Outline("tumour", shapely.box(0, 0, 10, 5))
    >>> shares(merge([square], {}), np.array([[0.0, 0, 10, 10]]))[1].tolist()
    [[0.5]]
    """
    names = sorted(regions.areas)
    squares = shapely.box(*boxes.T)
    found = np.zeros((len(boxes), len(names)))
    for column, name in enumerate(names):
        area = regions.areas[name]
        shapely.prepare(area)
        inside = shapely.contains(area, squares)
        partly = np.flatnonzero(shapely.intersects(area, squares) & ~inside)
        found[inside, column] = 1.0
        found[partly, column] = shapely.area(shapely.intersection(area, squares[partly])) / shapely.area(
            squares[partly]
        )
    return names, np.clip(found, 0.0, 1.0)


SAME_SHAPE = 0.01
"""Largest relative difference between the aspect of a mask and of its slide."""
ENOUGH_PX = 64
"""A mask is read at the coarsest level that still has this many pixels along a tile's side."""


def mask_shares(
    path: Path, folder: Path, slide: Slide, boxes: np.ndarray, classes: Mapping[str, str]
) -> tuple[list[str], np.ndarray] | SlideRejected:
    """Class names, and float64 (box, class): the share of each box, (box, 4) in level-0 pixels, with its values.

    `classes`: value → class; empty: every value but 0 is a class. Values are read tile by tile.
    """
    mask = open_slide(path, folder)
    if isinstance(mask, Unreadable):
        return SlideRejected("unusable mask", f"{mask.reason}: {mask.detail}")
    with mask:
        return _shares(mask, slide, boxes, classes)


def _shares(
    mask: Slide, slide: Slide, boxes: np.ndarray, classes: Mapping[str, str]
) -> tuple[list[str], np.ndarray] | SlideRejected:
    across = mask.sizes[0][0] / slide.sizes[0][0]
    down = mask.sizes[0][1] / slide.sizes[0][1]
    if abs(across / down - 1) > SAME_SHAPE:
        return SlideRejected("unusable mask", f"{mask.sizes[0][0]} × {mask.sizes[0][1]} pixels: not the slide's shape")
    found: list[dict[str, float]] = []
    for box in boxes * np.array([across, down, across, down]):
        values = _values(mask, box)
        if isinstance(values, SlideRejected):
            return values
        found.append(_by_class(values, classes))
    names = sorted({name for shares in found for name in shares} - {CUT_OUT})
    return names, np.array([[shares.get(name, 0.0) for name in names] for shares in found]).reshape(len(boxes), -1)


def _values(mask: Slide, box: np.ndarray) -> np.ndarray | SlideRejected:
    left, top = math.floor(box[0] + 0.5), math.floor(box[1] + 0.5)
    right, bottom = max(left + 1, math.floor(box[2] + 0.5)), max(top + 1, math.floor(box[3] + 0.5))
    fine = [level for level, times in enumerate(mask.downsamples) if (right - left) / times >= ENOUGH_PX]
    level = max(fine, default=0)
    times = mask.downsamples[level]
    region = mask.region(left, top, level, max(1, round((right - left) / times)), max(1, round((bottom - top) / times)))
    if region is None:
        return SlideRejected("unusable mask", "damaged")
    pixels = region.pixels
    if pixels.ndim == 3 and (pixels != pixels[:, :, :1]).any():
        return SlideRejected("unusable mask", "in colour; grey values name the classes")
    return pixels if pixels.ndim == 2 else pixels[:, :, 0]


def _by_class(values: np.ndarray, classes: Mapping[str, str]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for value, count in zip(*np.unique(values, return_counts=True), strict=True):
        name = classes.get(str(value)) if classes else (str(value) if value else None)
        if name is not None:
            shares[name] = shares.get(name, 0.0) + float(count) / values.size
    return shares
