"""From a manifest to PNG bytes: read, check, crop to the region, change the copies, prepare. One image at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from advassay.cohorts.augmentation import make_copy
from advassay.cohorts.pixels import PixelRule, encode, prepare_pixels
from advassay.cohorts.regions.found import Box
from advassay.cohorts.regions.step import box_of
from advassay.errors import CohortError
from advassay.identity import image_id
from advassay.progress import Progress
from advassay.sources import OpenSource, Unreadable
from advassay.sources.ahead import ahead
from advassay.specs import AugmentationSpec


@dataclass(frozen=True)
class Recipe:
    """How every image of a cohort is made. `seed` and `augmentation` are for copies."""

    pixels: PixelRule
    augmentation: AugmentationSpec | None
    seed: int


@dataclass(frozen=True)
class Wanted:
    """One image to make: the stored image it comes from, the part of it, and the number of the copy."""

    original: str
    box: Box | None
    copy: int | None

    @classmethod
    def of(cls, row: dict[str, Any]) -> Wanted:
        """From a manifest row; `copy_number` is null or absent for an image that is no copy."""
        return cls(row["parent_image_id"] or row["image_id"], box_of(row), row.get("copy_number"))


def pngs(
    opened: OpenSource, manifest: pl.DataFrame, rows: dict[str, int], recipe: Recipe, name: str, progress: Progress
) -> Iterator[bytes]:
    """The PNG of each manifest row, in order. `rows`: image_id → row of the source, of a copy its parent's.

    A copy's parent is read again for each copy: memory holds a few images whatever their number. Raises CohortError
    where a file has changed since it was indexed.
    """
    task = f"prepare {name}, {manifest.height} images"
    progress.start(task, manifest.height, "images")
    read = opened.read([rows[image] for image in manifest["image_id"]])
    wanted = (Wanted.of(row) for row in manifest.iter_rows(named=True))
    for png in ahead(lambda item: _png(item[0], item[1][1], recipe), zip(wanted, read, strict=True)):
        progress.advance(task)
        yield png
    progress.finish(task)


def _png(wanted: Wanted, pixels: np.ndarray | Unreadable, recipe: Recipe) -> bytes:
    if isinstance(pixels, Unreadable) or image_id(pixels) != wanted.original:
        raise CohortError(
            f"source: files that stay as they are while being prepared; image {wanted.original} changed meanwhile.",
            "Run the same command again.",
        )
    if wanted.box is not None:
        pixels = wanted.box.cut(pixels)
    if wanted.copy is not None and recipe.augmentation is not None:
        pixels = make_copy(pixels, wanted.original, wanted.copy, recipe.augmentation, recipe.seed)
    return encode(prepare_pixels(pixels, recipe.pixels))
