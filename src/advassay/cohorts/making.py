"""From a manifest to PNG bytes: read, check, crop to the region, change the copies, prepare. One image at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from advassay.cohorts.augmentation import make_copy
from advassay.cohorts.pixels import PixelRule, encode, prepare_pixels
from advassay.cohorts.regions.found import Box
from advassay.cohorts.regions.step import box_of
from advassay.cohorts.spool import Spool
from advassay.errors import CohortError
from advassay.identity import image_id
from advassay.progress import Progress
from advassay.sources import OpenSource, Unreadable
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
    opened: OpenSource,
    manifest: pl.DataFrame,
    rows: dict[str, int],
    recipe: Recipe,
    name: str,
    progress: Progress,
    spool: Spool | None = None,
) -> Iterator[bytes]:
    """The PNG of each manifest row, in order. `rows`: image_id → row of the source, of a copy its parent's; `spool`:
    images that were made when they were indexed.

    A copy's parent is read again for each copy: memory holds a few images whatever their number. Raises CohortError
    where a file has changed since it was indexed.
    """
    task = f"prepare {name}, {manifest.height} images"
    progress.start(task, manifest.height, "images")
    ready = [_is_spooled(image, rows, recipe, spool) for image in manifest.iter_rows(named=True)]
    fresh = manifest.filter(~pl.Series(ready, dtype=pl.Boolean))
    wanted = [Wanted.of(row) for row in fresh.iter_rows(named=True)]
    made = opened.map_in_reader([rows[image] for image in fresh["image_id"]], partial(_png, recipe=recipe), wanted)
    for image, is_ready in zip(manifest["image_id"], ready, strict=True):
        if is_ready and spool is not None:
            png = spool.get(rows[image])
        else:
            _, (original, png) = next(made)
            if original is not None:
                raise CohortError(
                    f"source: files that stay as they are while being prepared; image {original} changed meanwhile.",
                    "Run the same command again.",
                )
        progress.advance(task)
        yield png
    progress.finish(task)


def _is_spooled(image: dict[str, Any], rows: dict[str, int], recipe: Recipe, spool: Spool | None) -> bool:
    """Whether the spool has the image as the recipe makes it: no copy, no part, and of the recipe's depth."""
    wanted = Wanted.of(image)
    plain = wanted.copy is None and wanted.box is None and image["bits"] == recipe.pixels.bits
    return spool is not None and plain and rows[image["image_id"]] in spool


def _png(pixels: np.ndarray | Unreadable, item: Wanted, recipe: Recipe) -> tuple[str | None, bytes]:
    """The PNG of one image; or the id of one that is no longer what it was."""
    wanted = item
    if isinstance(pixels, Unreadable) or image_id(pixels) != wanted.original:
        return wanted.original, b""
    if wanted.box is not None:
        pixels = wanted.box.cut(pixels)
    if wanted.copy is not None and recipe.augmentation is not None:
        pixels = make_copy(pixels, wanted.original, wanted.copy, recipe.augmentation, recipe.seed)
    return None, encode(prepare_pixels(pixels, recipe.pixels))
