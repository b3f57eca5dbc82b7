"""Review of regions before a cohort is prepared: contact sheets, a table of what was found, two lists to edit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import polars as pl

from advassay.cohorts.regions.apply_regions import apply_review, find_regions
from advassay.cohorts.regions.region_finders import Detection
from advassay.cohorts.regions.review_lists import EDGES, ReviewLists, read_lists
from advassay.cohorts.regions.thorax_finder import LEFT_LUNG, RIGHT_LUNG
from advassay.cohorts.selection import select
from advassay.cohorts.selection_counts import SelectionCounts
from advassay.csv_export import write_csv
from advassay.errors import CohortError
from advassay.progress import Progress, Silent
from advassay.sources import OpenSource, Unreadable, index, open_source
from advassay.sources.source_opener import locate
from advassay.spec.cohort_spec import CohortSpec, RegionSpec
from advassay.spec.source_spec import Source
from advassay.store_layout import writing

TILE_PX, CAPTION_PX, GAP_PX = 232, 34, 6
COLUMNS, ROWS = 6, 4
_KEPT, _OUT, _LUNGS, _TEXT = (90, 220, 60), (70, 70, 255), (0, 215, 255), (235, 235, 235)
"""Blue, green, red."""
LEGEND = ((_LUNGS, "lungs as found"), (_KEPT, "region, kept"), (_OUT, "region, left out"))
LEGEND_PX = 16


class ReviewImage(NamedTuple):
    """One tile: the image as stored, what was found in it, and two lines of text."""

    pixels: np.ndarray
    found: Detection
    caption: tuple[str, str]


def sheets(pictures: Iterable[ReviewImage]) -> Iterator[np.ndarray]:
    """(height, width, 3) uint8 blue-green-red sheets of at most COLUMNS × ROWS tiles, one at a time."""
    tiles = (_tile(picture) for picture in pictures)
    while page := list(islice(tiles, COLUMNS * ROWS)):
        blank = np.zeros_like(page[0])
        rows = [page[start : start + COLUMNS] for start in range(0, len(page), COLUMNS)]
        across = COLUMNS if len(rows) > 1 else len(page)
        page_image = np.vstack([np.hstack(row + [blank] * (across - len(row))) for row in rows])
        yield np.vstack([page_image, *_legend(page_image.shape[1])])


def _legend(width: int) -> list[np.ndarray]:
    """One line for each colour."""
    lines = []
    for colour, text in LEGEND:
        line = np.zeros((LEGEND_PX, width, 3), np.uint8)
        cv2.rectangle(line, (2, 4), (12, LEGEND_PX - 4), colour, -1)
        cv2.putText(line, text, (18, LEGEND_PX - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.4, _TEXT, 1, cv2.LINE_AA)
        lines.append(line)
    return lines


def _tile(picture: ReviewImage) -> np.ndarray:
    shown, zoom = _small(picture.pixels)
    _draw(shown, picture.found, zoom)
    tile = np.zeros((TILE_PX + CAPTION_PX + GAP_PX, TILE_PX + GAP_PX, 3), np.uint8)
    top, left = (TILE_PX - shown.shape[0]) // 2, (TILE_PX - shown.shape[1]) // 2
    tile[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
    for line, text in enumerate(picture.caption):
        at = (2, TILE_PX + 13 + 15 * line)
        cv2.putText(tile, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.4, _TEXT, 1, cv2.LINE_AA)
    return tile


def _small(pixels: np.ndarray) -> tuple[np.ndarray, float]:
    """The image in colour at tile size, grey values stretched between percentiles; and how much smaller it is."""
    zoom = TILE_PX / max(pixels.shape[:2])
    size = max(1, round(pixels.shape[1] * zoom)), max(1, round(pixels.shape[0] * zoom))
    method = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    small = cv2.resize(pixels.astype(np.float32), size, interpolation=method)
    low, high = np.percentile(small, [0.5, 99.5])
    grey = (255 * np.clip((small - low) / max(float(high - low), 1e-12), 0, 1)).astype(np.uint8)
    return np.ascontiguousarray(grey[:, :, ::-1] if grey.ndim == 3 else np.repeat(grey[:, :, None], 3, axis=2)), zoom


def _draw(shown: np.ndarray, found: Detection, zoom: float) -> None:
    thorax = found.thorax
    if thorax is not None:
        for outline in (LEFT_LUNG, RIGHT_LUNG):
            points = np.array([thorax.at(x, y) for x, y in outline]) * zoom
            cv2.polylines(shown, [np.rint(points).astype(np.int32)], True, _LUNGS, 1, cv2.LINE_AA)
    if found.box is not None:
        left, top, right, bottom = (round(edge * zoom) for edge in found.box)
        cv2.rectangle(shown, (left, top), (right - 1, bottom - 1), _KEPT if found.reason is None else _OUT, 2)


FOUND = "found.csv"
LISTS = ("accept.csv", "reject.csv")
_NO_KEY = bytes(16)  # pseudonyms are made on the way and not used


def export_review(
    name: str,
    spec: CohortSpec,
    source: Source,
    *,
    data: Path | None,
    out: Path,
    most: int | None = None,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """Find the region in every image that the rules of cohort `name` let in, and write what a person needs into `out`.

    sheet-001.png, … (the least sure first; at most `most` images), found.csv, and accept.csv and reject.csv where they
    are not there yet. Returns found.csv: image_id, kept, reason, confidence, left, top, right, bottom (pixels of the
    stored image), sheet and place on it (null beyond `most`). Raises CohortError for a cohort without a region.
    """
    if spec.region is None:
        raise CohortError(f"cohorts.{name}: expected a cohort with a region, got one without.", "Add `region: aorta`.")
    progress = progress or Silent()
    opened = open_source(spec.source, source, data, scaling=spec.scaling, progress=progress)
    rows = select(opened.rows, spec, SelectionCounts(opened.rows.height))["row"].to_list()
    indexed = index(opened, rows, key=_NO_KEY, progress=progress)
    images = indexed.manifest.unique("image_id", maintain_order=True)
    if images.is_empty():
        reasons = ", ".join(sorted(set(indexed.left_out["reason"]))) or "no row satisfies the rules"
        raise CohortError(f"cohorts.{name}: images that can be read, got none of {len(rows)} ({reasons}).")
    lists = _lists_there_are(spec.region, data)
    found = _found(opened, images, spec.region, lists, progress)
    out.mkdir(parents=True, exist_ok=True)
    table = _table(found, len(found) if most is None else most)
    _write_sheets(opened, images, found, table, out, progress)
    with writing(out / FOUND) as beside:
        write_csv(table, beside)
    for path in (out / list_name for list_name in LISTS):
        if not path.exists():
            path.write_text(",".join(table.columns) + "\n", encoding="utf-8")  # lines of found.csv fit as they are
    return table


def _lists_there_are(rule: RegionSpec, data: Path | None) -> ReviewLists:
    """The study's lists, but for those that are yet to be written."""
    paths = {"accept": rule.accept, "reject": rule.reject}
    absent = {field: None for field, path in paths.items() if path and not locate("region", path, data).is_file()}
    return read_lists(rule.model_copy(update=absent), data)


def _found(
    opened: OpenSource, images: pl.DataFrame, rule: RegionSpec, lists: ReviewLists, progress: Progress
) -> dict[str, Detection]:
    """image_id → what was found; the box stays where one was found, also in an image that is left out."""
    facts = images.select("image_id", "width", "height").iter_rows()
    result = {}
    for (image, width, height), found in zip(facts, find_regions(opened, images, rule, progress), strict=True):
        decided = apply_review(found, image, (width, height), rule, lists)
        result[image] = decided if decided.box is not None else decided._replace(box=found.box)
    return result


def _table(found: dict[str, Detection], most: int) -> pl.DataFrame:
    ordered = sorted(found.items(), key=lambda item: (item[1].reason is None, item[1].confidence, item[0]))
    rows = [
        (image, f.reason is None, f.reason, round(f.confidence, 3), *(f.box or (None,) * 4)) for image, f in ordered
    ]
    schema = {"image_id": pl.String, "kept": pl.Boolean, "reason": pl.String, "confidence": pl.Float64}
    table = pl.DataFrame(rows, schema=schema | dict.fromkeys(EDGES, pl.Int64), orient="row").with_row_index("_at")
    shown = pl.col("_at") < most
    per_sheet = COLUMNS * ROWS
    return table.with_columns(
        sheet=pl.when(shown).then(pl.col("_at") // per_sheet + 1),
        place=pl.when(shown).then(pl.col("_at") % per_sheet + 1),
    ).drop("_at")


def _write_sheets(
    opened: OpenSource,
    images: pl.DataFrame,
    found: dict[str, Detection],
    table: pl.DataFrame,
    out: Path,
    progress: Progress,
) -> None:
    for old in out.glob("sheet-*.png"):
        old.unlink()
    shown = table.filter(pl.col("sheet").is_not_null()).join(
        images.select("image_id", "row"), on="image_id", how="left"
    )
    task = f"draw {shown.height} images"
    progress.start(task, shown.height, "images")
    pictures = _pictures(opened, shown.sort("sheet", "place"), found, progress, task)
    for number, sheet in enumerate(sheets(pictures), start=1):
        with writing(out / f"sheet-{number:03d}.png") as beside:
            beside.write_bytes(cv2.imencode(".png", sheet)[1].tobytes())
    progress.finish(task)


def _pictures(
    opened: OpenSource, shown: pl.DataFrame, found: dict[str, Detection], progress: Progress, task: str
) -> Iterator[ReviewImage]:
    facts = shown.select("image_id", "place").iter_rows()
    for (image, place), (_, pixels) in zip(facts, opened.read(shown["row"].to_list()), strict=True):
        if isinstance(pixels, Unreadable):
            raise CohortError(f"source: files that stay as they are, image {image} changed.", "Run the command again.")
        verdict = found[image].reason or "kept"
        caption = (f"{place}  {image}  {found[image].confidence:.2f}", verdict.removeprefix("region: "))
        yield ReviewImage(np.ma.getdata(pixels), found[image], caption)
        progress.advance(task)
