"""From a manifest to PNG bytes: read, check, crop, change the copies, prepare; made early where decoded."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from advassay.cohorts.augmentation import make_copy
from advassay.cohorts.image_preparation import PixelRule, encode, prepare_pixels
from advassay.cohorts.regions.apply_regions import box_of
from advassay.cohorts.regions.region_finders import Box
from advassay.errors import CohortError
from advassay.identity import image_id
from advassay.progress import Progress
from advassay.sources import OpenSource, Unreadable
from advassay.spec.cohort_spec import AugmentationSpec


def make_png(pixels: np.ndarray, rule: PixelRule) -> bytes:
    """The prepared image of `pixels`, as PNG at the depth of `pixels`, whatever depth `rule` states."""
    return encode(prepare_pixels(pixels, rule._replace(bits=8 * pixels.dtype.itemsize)))


class Spool:
    """PNGs by row of the source."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (lives as long as this object)
        self._places: dict[int, tuple[int, int]] = {}
        self._end = 0

    def put(self, row: int, png: bytes) -> None:
        self._file.seek(self._end)
        self._file.write(png)
        self._places[row] = (self._end, len(png))
        self._end += len(png)

    def get(self, row: int) -> bytes:
        """The PNG of `row`. Raises KeyError for a row that was not put here."""
        place, length = self._places[row]
        self._file.seek(place)
        return self._file.read(length)

    def __contains__(self, row: int) -> bool:
        return row in self._places

    def close(self) -> None:
        self._file.close()


@dataclass(frozen=True)
class ImagePipeline:
    """How every image of a cohort is made. `seed` and `augmentation` are for copies."""

    pixels: PixelRule
    augmentation: AugmentationSpec | None
    seed: int


@dataclass(frozen=True)
class ImageRequest:
    """One image to make: the stored image it comes from, the part of it, and the number of the copy."""

    original: str
    box: Box | None
    copy: int | None

    @classmethod
    def of(cls, row: dict[str, Any]) -> ImageRequest:
        """From a manifest row; `copy_number` is null or absent for an image that is no copy."""
        return cls(row["parent_image_id"] or row["image_id"], box_of(row), row.get("copy_number"))


def render_pngs(
    opened: OpenSource,
    manifest: pl.DataFrame,
    rows: dict[str, int],
    recipe: ImagePipeline,
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
    wanted = [ImageRequest.of(row) for row in fresh.iter_rows(named=True)]
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


def _is_spooled(image: dict[str, Any], rows: dict[str, int], recipe: ImagePipeline, spool: Spool | None) -> bool:
    """Whether the spool has the image as the recipe makes it: no copy, no part, and of the recipe's depth."""
    wanted = ImageRequest.of(image)
    plain = wanted.copy is None and wanted.box is None and image["bits"] == recipe.pixels.bits
    return spool is not None and plain and rows[image["image_id"]] in spool


def _png(pixels: np.ndarray | Unreadable, item: ImageRequest, recipe: ImagePipeline) -> tuple[str | None, bytes]:
    """The PNG of one image; or the id of one that is no longer what it was."""
    wanted = item
    if isinstance(pixels, Unreadable) or image_id(pixels) != wanted.original:
        return wanted.original, b""
    if wanted.box is not None:
        pixels = wanted.box.cut(pixels)
    if wanted.copy is not None and recipe.augmentation is not None:
        pixels = make_copy(pixels, wanted.original, wanted.copy, recipe.augmentation, recipe.seed)
    return None, encode(prepare_pixels(pixels, recipe.pixels))
