"""Looking regions over before a cohort is prepared: contact sheets, a table of what was found, two lists to edit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import polars as pl

from advassay.cohorts.flow import Flow
from advassay.cohorts.regions.found import Found
from advassay.cohorts.regions.lists import EDGES, Lists, read_lists
from advassay.cohorts.regions.sheets import COLUMNS, ROWS, Pictured, sheets
from advassay.cohorts.regions.step import find_regions, judged
from advassay.cohorts.selection import select
from advassay.csv_export import write_csv
from advassay.errors import CohortError
from advassay.layout import writing
from advassay.progress import Progress, Silent
from advassay.sources import OpenSource, Unreadable, index, open_source
from advassay.sources.opening import locate
from advassay.specs import CohortSpec, RegionSpec, Source

FOUND = "found.csv"
LISTS = ("accept.csv", "reject.csv")
_NO_KEY = bytes(16)  # pseudonyms are made on the way and not used


def look_over(
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
        raise CohortError(f"cohorts.{name}: a cohort with a region is needed, got one without.", "Add `region: aorta`.")
    progress = progress or Silent()
    opened = open_source(spec.source, source, data, scaling=spec.scaling, progress=progress)
    rows = select(opened.rows, spec, Flow(opened.rows.height))["row"].to_list()
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


def _lists_there_are(rule: RegionSpec, data: Path | None) -> Lists:
    """The study's lists, but for those that are yet to be written."""
    paths = {"accept": rule.accept, "reject": rule.reject}
    absent = {field: None for field, path in paths.items() if path and not locate("region", path, data).is_file()}
    return read_lists(rule.model_copy(update=absent), data)


def _found(
    opened: OpenSource, images: pl.DataFrame, rule: RegionSpec, lists: Lists, progress: Progress
) -> dict[str, Found]:
    """image_id → what was found; the box stays where one was found, also in an image that is left out."""
    facts = images.select("image_id", "width", "height").iter_rows()
    result = {}
    for (image, width, height), found in zip(facts, find_regions(opened, images, rule, progress), strict=True):
        decided = judged(found, image, (width, height), rule, lists)
        result[image] = decided if decided.box is not None else decided._replace(box=found.box)
    return result


def _table(found: dict[str, Found], most: int) -> pl.DataFrame:
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
    found: dict[str, Found],
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
    opened: OpenSource, shown: pl.DataFrame, found: dict[str, Found], progress: Progress, task: str
) -> Iterator[Pictured]:
    facts = shown.select("image_id", "place").iter_rows()
    for (image, place), (_, pixels) in zip(facts, opened.read(shown["row"].to_list()), strict=True):
        if isinstance(pixels, Unreadable):
            raise CohortError(f"source: files that stay as they are, image {image} changed.", "Run the command again.")
        verdict = found[image].reason or "kept"
        caption = (f"{place}  {image}  {found[image].confidence:.2f}", verdict.removeprefix("region: "))
        yield Pictured(np.ma.getdata(pixels), found[image], caption)
        progress.advance(task)
