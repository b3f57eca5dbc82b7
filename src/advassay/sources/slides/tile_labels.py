"""The class of every tile: from annotated regions or a mask of its slide, else the slide's own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from advassay.errors import SourceError
from advassay.sources.read_failures import Unreadable
from advassay.sources.slides.annotation_files import ENDINGS, Outline, read_regions
from advassay.sources.slides.discover_slides import SlideFile
from advassay.sources.slides.slide import Slide, regular_file
from advassay.sources.slides.slide_readers import open_slide
from advassay.sources.slides.tile_grid import SlideRejected
from advassay.spec.tile_spec import SlideClasses

# ---- the share of every tile that each class covers ------------------------------------------------------------------

CUT_OUT = "-"
"""In place of a class: the region belongs to no class, whatever else covers it."""


@dataclass(frozen=True)
class Regions:
    """areas: class → its area in level-0 pixels, cut-outs removed. mended: how many outlines crossed themselves."""

    areas: Mapping[str, BaseGeometry]
    mended: int


def merge_outlines(
    outlines: Iterable[Outline], classes: Mapping[str, str], offset: tuple[int, int] = (0, 0)
) -> Regions:
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


def region_shares(regions: Regions, boxes: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Class names, and float64 (box, class): the share of each box, (box, 4) in level-0 pixels, in each class's area.

    >>> square = Outline("tumour", shapely.box(0, 0, 10, 5))
    >>> region_shares(merge_outlines([square], {}), np.array([[0.0, 0, 10, 10]]))[1].tolist()
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


# ---- the class of every tile -----------------------------------------------------------------------------------------

MASK_ENDINGS = (".png", ".tif", ".tiff")


class TileClass(NamedTuple):
    """label and the share of the tile it covers, or the reason why there is none."""

    label: str | None
    share: float | None
    reason: str | None = None


@dataclass(frozen=True)
class Labelled:
    """One TileClass a box; notes: what was skipped or mended in the slide's region file → count."""

    tiles: tuple[TileClass, ...]
    notes: dict[str, int] = field(default_factory=dict)


class Labels:
    """Finds and reads each slide's region file or mask. Raises SourceError where their folder is missing."""

    def __init__(self, classes: SlideClasses, annotations: Path | None, masks: Path | None) -> None:
        self._classes = classes
        self._folder = annotations or masks
        self._endings = ENDINGS if annotations else MASK_ENDINGS
        self._masks = masks is not None
        if self._folder is not None and not self._folder.is_dir():
            raise SourceError(f"classes: no such folder: {self._folder}.", "Check the path.")

    def file_of(self, slide: SlideFile) -> Path | None:
        """The slide's region file or mask: beside the same subfolders, or directly in the folder."""
        if self._folder is None:
            return None
        stems = dict.fromkeys((str(PurePath(slide.name).with_suffix("")), slide.stem, PurePath(slide.name).name))
        names = (f"{stem}{extra}{ending}" for stem in stems for extra in ("", "_mask") for ending in self._endings)
        found = (self._folder / name for name in names)
        return next((path for path in found if path.exists() and path != slide.path), None)

    def classify(self, slide: Slide, file: SlideFile, label: str | None, boxes: np.ndarray) -> Labelled | SlideRejected:
        """The class of each box, (box, 4) in level-0 pixels. `label`: the slide's own, where the table says one."""
        whole = (TileClass(label, None if label is None else 1.0),) * len(boxes)
        if self._folder is None:
            return Labelled(whole)
        path = self.file_of(file)
        if path is None:
            kind = "mask" if self._masks else "region file"
            return Labelled(whole) if label else SlideRejected(f"no {kind}", "none has its name")
        real = regular_file(path, self._folder)
        if isinstance(real, Unreadable):
            return SlideRejected("unusable mask" if self._masks else "unusable region file", real.reason)
        if self._masks:
            found = mask_shares(real, self._folder, slide, boxes, self._classes.regions)
            return found if isinstance(found, SlideRejected) else Labelled(self._decide(*found))
        return self._by_regions(real, slide, boxes)

    def _by_regions(self, path: Path, slide: Slide, boxes: np.ndarray) -> Labelled | SlideRejected:
        file = read_regions(path)
        if isinstance(file, str):
            return SlideRejected("unusable region file", file)
        # QuPath counts from the corner of the part that was scanned (github.com/qupath/qupath/issues/1278).
        offset = slide.bounds[:2] if path.suffix.lower() != ".xml" else (0, 0)
        regions = merge_outlines(file.outlines, self._classes.regions, offset)
        notes = {f"skipped: {reason}": count for reason, count in file.skipped.items()}
        if regions.mended:
            notes["mended: an outline that crosses itself"] = regions.mended
        if not regions.areas and self._classes.outside is None:
            return SlideRejected("unusable region file", "; ".join(notes) or "no region of a class that is asked for")
        return Labelled(self._decide(*region_shares(regions, boxes)), notes)

    def _decide(self, names: list[str], covered: np.ndarray) -> tuple[TileClass, ...]:
        if not names:
            return (self._nowhere(),) * len(covered)
        best = covered.argmax(axis=1)
        return tuple(
            self._one(names[column], float(row[column]), row) for column, row in zip(best, covered, strict=True)
        )

    def _one(self, name: str, share: float, row: np.ndarray) -> TileClass:
        if share >= self._classes.min_share:
            return TileClass(name, share)
        return TileClass(None, share, "between classes") if row.any() else self._nowhere()

    def _nowhere(self) -> TileClass:
        outside = self._classes.outside
        return TileClass(None, 0.0, "outside every region") if outside is None else TileClass(outside, 1.0)
