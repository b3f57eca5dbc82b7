"""What a person decided about regions: two tables by image_id, which win over what was found."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from advassay.cohorts.regions.region_finders import LEAST_PX, Box
from advassay.errors import CohortError
from advassay.identity import content_hash
from advassay.sources.source_opener import locate
from advassay.sources.table_files import read_table
from advassay.spec.cohort_spec import RegionSpec

EDGES = ("left", "top", "right", "bottom")


@dataclass(frozen=True)
class ReviewLists:
    """accepted: image_id → the box to take, or None for the one that was found. rejected: image_ids.

    In both lists means rejected. `warnings`: lines that say nothing usable, in words.
    """

    accepted: dict[str, Box | None] = field(default_factory=dict)
    rejected: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()


def read_lists(rule: RegionSpec, data: Path | None) -> ReviewLists:
    """The lists a region names. Raises SourceError where one cannot be read, CohortError without column image_id."""
    accepted, odd = _boxes(_table("accept", rule.accept, data))
    rejected = frozenset(_table("reject", rule.reject, data)["image_id"].drop_nulls())
    warnings = []
    if odd:
        warnings.append(
            f"region.accept: {odd} lines without a box that can be (left < right, top < bottom, {LEAST_PX} pixels or "
            "more): what was found is taken."
        )
    if both := len(accepted.keys() & rejected):
        warnings.append(f"region: {both} images are in both lists, accept and reject: left out.")
    return ReviewLists(
        {image: box for image, box in accepted.items() if image not in rejected}, rejected, tuple(warnings)
    )


def lists_state(rule: RegionSpec, data: Path | None) -> str | None:
    """Fingerprint of the lists' content; None where one is not at hand (a store moved to another machine)."""
    paths = [path for path in (rule.accept, rule.reject) if path is not None]
    if data is None and not all(Path(path).is_absolute() for path in paths):
        return None
    files = [locate("region", path, data) for path in paths]
    if not all(file.is_file() for file in files):
        return None
    return content_hash([hashlib.sha256(file.read_bytes()).hexdigest() for file in files])


def _table(name: str, path: str | None, data: Path | None) -> pl.DataFrame:
    if path is None:
        return pl.DataFrame(schema={"image_id": pl.String})
    table = read_table(locate(f"region.{name}", path, data), text=frozenset({"image_id"}))
    if "image_id" not in table.columns:
        raise CohortError(
            f"region.{name}: expected a column image_id, got {', '.join(table.columns) or 'none'}.",
            "Copy lines of the found.csv that `advassay regions` writes.",
        )
    return table.with_columns(pl.col("image_id").cast(pl.String))


def _boxes(table: pl.DataFrame) -> tuple[dict[str, Box | None], int]:
    """image_id → box, and how many lines state a box that cannot be."""
    stated = [pl.col(name) if name in table.columns else pl.lit(None).alias(name) for name in EDGES]
    boxes: dict[str, Box | None] = {}
    odd = 0
    for image, *edges in table.select("image_id", *stated).drop_nulls("image_id").iter_rows():
        boxes[image] = box = _box(edges)
        odd += box is None and any(edge is not None for edge in edges)
    return boxes, odd


def _box(edges: list[object]) -> Box | None:
    try:
        box = Box(*(round(float(str(edge))) for edge in edges))
    except (ValueError, OverflowError):
        return None
    return box if min(box.sides) >= LEAST_PX and min(box.left, box.top) >= 0 else None
