"""Regions drawn on a slide → the class of every tile, by the share of its area that they cover."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

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
