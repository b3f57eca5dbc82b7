"""The step between duplicates and balance: a box for every image, or a reason why it is out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from advassay.cohorts.conditions import column_of
from advassay.cohorts.regions.region_finders import Box, Detection, Spacing, around_mask, chest_region, share_of
from advassay.cohorts.regions.review_lists import ReviewLists
from advassay.cohorts.regions.thorax_finder import Thorax, find_thorax
from advassay.cohorts.selection_counts import SelectionCounts
from advassay.errors import CohortError
from advassay.progress import Progress
from advassay.sources import OpenSource, Unreadable
from advassay.spec.cohort_spec import RegionSpec

COLUMNS = {
    "region_left": pl.Int64,
    "region_top": pl.Int64,
    "region_right": pl.Int64,
    "region_bottom": pl.Int64,
    "region_confidence": pl.Float64,
}
"""What the manifest says about each image's region, in pixels of the stored image."""

BOX = tuple(COLUMNS)[:4]


def with_regions(
    opened: OpenSource,
    images: pl.DataFrame,
    rule: RegionSpec,
    lists: ReviewLists,
    flow: SelectionCounts,
    progress: Progress,
    seen: dict[int, Detection] | None = None,
) -> pl.DataFrame:
    """The rows of `images` (image_id, row, width, height, …) that have the region, with `COLUMNS`.

    The others are counted in `flow`. Images are read once more, a few at a time, but for those whose row is in `seen`;
    what is found in the others is added to it. Raises CohortError for a mask column that is not there.
    """
    seen = {} if seen is None else seen
    fresh = images.filter(~pl.col("row").is_in(pl.Series(list(seen), dtype=pl.UInt32).implode()))
    seen.update(zip(fresh["row"], find_regions(opened, fresh, rule, progress), strict=True))
    known = set(images["image_id"])
    flow.warnings += lists.warnings
    if strangers := len((lists.accepted.keys() | lists.rejected) - known):
        flow.warnings.append(f"region: {strangers} image_ids of the lists are no images of this cohort.")
    boxes, reasons = [], []
    for image, row, *size in images.select("image_id", "row", "width", "height").iter_rows():
        found = apply_review(seen[row], image, (size[0], size[1]), rule, lists)
        reasons.append(found.reason)
        boxes.append((image, *(found.box or (None,) * 4), found.confidence))
    columns = pl.DataFrame(boxes, schema={"image_id": pl.String, **COLUMNS}, orient="row")
    placed = images.with_columns(columns.drop("image_id"))
    return flow.keep("region", placed, pl.Series(reasons, dtype=pl.String))


def box_of(row: dict[str, Any]) -> Box | None:
    """The region of a manifest row; None where the cohort shows whole images."""
    if row.get("region_left") is None:
        return None
    return Box(*(int(row[name]) for name in BOX))


def apply_review(
    found: Detection, image_id: str, image: tuple[int, int], rule: RegionSpec, lists: ReviewLists
) -> Detection:
    """What was found, after the least confidence and a person's lists. `image`: its (width, height)."""
    if image_id in lists.rejected:
        return found._replace(box=None, reason="region: rejected by hand")
    if image_id in lists.accepted:
        box = lists.accepted[image_id]
        if box is not None and (box.right > image[0] or box.bottom > image[1]):
            return found._replace(box=None, reason="region: accepted box reaches beyond the image")
        return found if box is None else found._replace(box=box, confidence=1.0, reason=None)
    if found.reason is None and found.confidence < rule.least_confidence:
        return found._replace(box=None, reason="region: not surely found")
    return found


def find_regions(opened: OpenSource, images: pl.DataFrame, rule: RegionSpec, progress: Progress) -> Iterator[Detection]:
    """What each image (row, width, height) shows where `rule` looks, in order, before confidence and lists count."""
    sizes = list(images.select("width", "height").iter_rows())
    if rule.box is not None:
        yield from (share_of(size, rule.box) for size in sizes)
    elif rule.mask is not None:
        yield from _masked(opened, images, rule)
    else:
        yield from _chests(opened, images, rule, progress)


def _masked(opened: OpenSource, images: pl.DataFrame, rule: RegionSpec) -> Iterator[Detection]:
    if opened.root is None:
        raise CohortError("region.mask: a source whose images are files, got phantoms.", "Use find or box.")
    path = column_of(opened.rows, str(rule.mask), "region.mask").cast(pl.String)
    paths = images.select("row").join(opened.rows.select("row", path.alias("mask")), on="row", how="left")["mask"]
    for mask, size in zip(paths, images.select("width", "height").iter_rows(), strict=True):
        yield around_mask(mask, opened.root, size, rule.margin)


def _chests(opened: OpenSource, images: pl.DataFrame, rule: RegionSpec, progress: Progress) -> Iterator[Detection]:
    task = f"find regions in {opened.name}"
    progress.start(task, images.height, "images")
    spacings = _spacings(opened, images, rule)
    looked = opened.map(images["row"].to_list(), _look)
    for (width, height), spacing, (_, thorax) in zip(
        images.select("width", "height").iter_rows(), spacings, looked, strict=True
    ):
        yield chest_region(thorax, (width, height), rule, spacing)
        progress.advance(task)
    progress.finish(task)


def _look(pixels: np.ndarray | Unreadable) -> Thorax | None:
    if isinstance(
        pixels, Unreadable
    ):  # it could be read a moment ago: `cohorts/cohort_preparation.py` says so when it is written
        return None
    stored = np.ma.getdata(pixels)
    return find_thorax(stored if stored.ndim == 2 else stored.mean(axis=2))


def _spacings(opened: OpenSource, images: pl.DataFrame, rule: RegionSpec) -> list[Spacing | None]:
    if rule.pixel_spacing not in opened.rows.columns:
        return [None] * images.height
    stated = opened.rows.select("row", pl.col(rule.pixel_spacing).cast(pl.String).alias("stated"))
    return [spacing_of(text) for text in images.select("row").join(stated, on="row", how="left")["stated"]]


def spacing_of(text: str | None) -> Spacing | None:
    r"""Millimetres down and across from a number or a pair; None for what is no spacing.

    >>> spacing_of("0.143"), spacing_of("0.1\\0.2"), spacing_of("[0.1, 0.2]"), spacing_of("0"), spacing_of(None)
    ((0.143, 0.143), (0.1, 0.2), (0.1, 0.2), None, None)
    """
    try:
        numbers = [float(part) for part in (text or "").strip("[]() ").replace("\\", " ").replace(",", " ").split()]
    except ValueError:
        return None
    if len(numbers) not in (1, 2) or not all(0 < number < 100 for number in numbers):
        return None
    return numbers[0], numbers[-1]
