"""The class of every tile: from regions or a mask of its slide, else the slide's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np

from advassay.errors import SourceError
from advassay.sources.read_failures import Unreadable
from advassay.sources.slides.annotation_coverage import mask_shares, merge, shares
from advassay.sources.slides.annotation_files import ENDINGS, read_regions
from advassay.sources.slides.discover_slides import SlideFile
from advassay.sources.slides.slide import Slide, regular_file
from advassay.sources.slides.tile_grid import SlideRejected
from advassay.spec.tile_spec import SlideClasses

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
        regions = merge(file.outlines, self._classes.regions, offset)
        notes = {f"skipped: {reason}": count for reason, count in file.skipped.items()}
        if regions.mended:
            notes["mended: an outline that crosses itself"] = regions.mended
        if not regions.areas and self._classes.outside is None:
            return SlideRejected("unusable region file", "; ".join(notes) or "no region of a class that is asked for")
        return Labelled(self._decide(*shares(regions, boxes)), notes)

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
