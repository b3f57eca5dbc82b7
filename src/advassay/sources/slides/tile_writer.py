"""One slide → its tiles as lossless PNG files, and the tables of a tiles folder: tiles, slides, the private one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import polars as pl

from advassay.csv_export import write_csv
from advassay.sources.base import prefetch
from advassay.sources.column_allowlist import allowed_columns
from advassay.sources.image_decoder import decode
from advassay.sources.read_failures import Unreadable
from advassay.sources.slides.discover_slides import SlideFile
from advassay.sources.slides.slide import Region, Slide
from advassay.sources.slides.slide_collection import SlideTable
from advassay.sources.slides.stain_normalisation import as_asked
from advassay.sources.slides.tile_candidates import TileCandidates, drawn_order
from advassay.sources.slides.tile_grid import read_tile
from advassay.sources.slides.tile_quality import is_blank, rejected, sharpness
from advassay.spec.tile_spec import TileRules
from advassay.store_layout import writing


def carried_table(table: SlideTable, slides: Sequence[SlideFile]) -> tuple[dict[str, pl.DataType], dict[str, str]]:
    """Columns that may travel with their types, and why each other one stays (see carried_columns)."""
    rows = [table.row(slide) for slide in slides]
    frame = pl.DataFrame(
        {name: [row.carried.get(name) for row in rows] for name in table.columns}, schema=dict(table.columns)
    )
    patients = pl.Series([row.patient for row in rows], dtype=pl.String)
    names, reasons = allowed_columns(frame, [patients])
    return {name: table.columns[name] for name in names}, reasons


REASONS = (
    *("background", "pen mark", "outside every region", "between classes"),
    *("damaged", "not scanned", "blank", "blurred", "not drawn"),
)
"""Why a cell gave no tile, in the order in which the rules are asked."""
UNLABELLED = "unlabelled"
"""Folder of tiles without a class."""
_THREADS = 2


class ExtractionResult(NamedTuple):
    """A cell that was read: reason null and its file's bytes (empty where the file is there), or why it is out."""

    cell: int
    reason: str | None
    sharpness: float
    png: bytes


def cut_slide(
    slide: Slide,
    cells: TileCandidates,
    rules: TileRules,
    *,
    slide_id: str,
    fingerprint: str,
    images: Path,
    tick: Callable[[float], None],
) -> pl.DataFrame:
    """Write a slide's tiles below `images` and return its cells with column `image` (path below `images`) of each kept
    tile, its `sharpness`, and the `reason` of every other.

    Tiles are written whole or not at all; one that is there is not cut again. `tick` is told the share of the slide's
    work that is done.
    """
    names = _names(cells.frame, slide_id)
    kept: dict[int, float] = {}
    reasons: dict[int, str] = {}
    orders = _orders(cells.frame, fingerprint, rules)
    work = sum(len(order) for order in orders)
    for order in orders:
        wanted = rules.tiles_per_slide or len(order)
        found = 0
        for done in _read_ahead(slide, cells, rules, order, images, names):
            tick(1 / work)
            if done.reason is not None:
                reasons[done.cell] = done.reason
                continue
            _write(images / names[done.cell], done.png)
            kept[done.cell] = done.sharpness
            found += 1
            if found == wanted:
                break
    return _judged(cells.frame, kept, reasons, names)


def _orders(frame: pl.DataFrame, fingerprint: str, rules: TileRules) -> list[list[int]]:
    """Which cells are read, in which order: all as they lie, or each class in drawn order."""
    if rules.tiles_per_slide is None:
        return [frame.filter(pl.col("reason").is_null())["cell"].to_list()]
    classes = frame.filter(pl.col("reason").is_null())["label"].unique().sort()
    return [
        drawn_order(frame.filter(pl.col("label").eq_missing(pl.lit(label, pl.String))), fingerprint, rules.seed)
        for label in classes
    ]


def _read_ahead(
    slide: Slide, cells: TileCandidates, rules: TileRules, order: list[int], images: Path, names: dict[int, str]
) -> Iterator[ExtractionResult]:
    def work(cell: int) -> ExtractionResult:
        # A tile that is there is judged by its own pixels, which normalised ones are not.
        there = _there(images / names[cell]) if cells.stains is None else None
        region = read_tile(slide, cells.grid, cell) if there is None else Region(there, 1.0)
        bad = rejected(region, rules, slide.white)
        if region is None or bad is not None:
            return ExtractionResult(cell, bad.reason if bad else "damaged", 0.0, b"")
        if is_blank(region.pixels):
            return ExtractionResult(cell, "blank", 0.0, b"")
        png = _png(as_asked(region.pixels, cells.stains)) if there is None else b""
        return ExtractionResult(cell, None, sharpness(region.pixels, slide.white), png)

    yield from prefetch(work, order, threads=_THREADS, most=4 * _THREADS)


def _there(path: Path) -> np.ndarray | None:
    """The tile as an earlier run wrote it."""
    if not path.exists():
        return None
    pixels = decode(path.read_bytes())
    return None if isinstance(pixels, Unreadable) else pixels


def _png(pixels: np.ndarray) -> bytes:
    stored = pixels if pixels.ndim == 2 else pixels[:, :, ::-1]
    return cv2.imencode(".png", np.ascontiguousarray(stored))[1].tobytes()


def _write(path: Path, png: bytes) -> None:
    if png:
        with writing(path) as beside:
            beside.write_bytes(png)


def _names(frame: pl.DataFrame, slide_id: str) -> dict[int, str]:
    """Cell → file: CLASS/SLIDE-xX-yY.png, with nothing of the original name."""
    return {
        cell: f"{folder_of(label)}/{slide_id}-x{x}-y{y}.png"
        for cell, label, x, y in frame.filter(pl.col("reason").is_null()).select("cell", "label", "x", "y").iter_rows()
    }


def folder_of(label: str | None) -> str:
    """A class as a folder's name.

    >>> folder_of("Tumor: invasive/ductal"), folder_of(None), folder_of("..")
    ('Tumor-invasive-ductal', 'unlabelled', 'class')
    """
    if label is None:
        return UNLABELLED
    return re.sub(r"[^\w.-]+", "-", label).strip("-._") or "class"


def _judged(
    frame: pl.DataFrame, kept: dict[int, float], reasons: dict[int, str], names: dict[int, str]
) -> pl.DataFrame:
    schema = {"cell": pl.UInt32, "image": pl.String, "sharpness": pl.Float64}
    tiles = pl.DataFrame([(cell, names[cell], value) for cell, value in kept.items()], schema=schema, orient="row")
    read = pl.DataFrame(list(reasons.items()), schema={"cell": pl.UInt32, "read": pl.String}, orient="row")
    joined = frame.join(tiles, on="cell", how="left").join(read, on="cell", how="left").sort("cell")
    left = pl.when(pl.col("image").is_null()).then(pl.lit("not drawn"))
    return joined.with_columns(reason=pl.coalesce("reason", "read", left)).drop("read")


MANIFEST = {
    **{"image": pl.String, "slide_id": pl.String, "patient_id": pl.String, "patient_from": pl.String},
    **{"label": pl.String, "label_share": pl.Float64, "x": pl.Int64, "y": pl.Int64, "level": pl.UInt8},
    **{"mpp": pl.Float64, "tissue_share": pl.Float64, "sharpness": pl.Float64},
}
"""Schema of manifest.csv and manifest.parquet, before what the slides' table adds."""
SLIDES = {
    **{"slide_id": pl.String, "patient_id": pl.String, "patient_from": pl.String, "label": pl.String},
    **{"status": pl.String, "reason": pl.String, "detail": pl.String, "format": pl.String},
    **{"width": pl.UInt32, "height": pl.UInt32, "levels": pl.UInt8, "mpp": pl.Float64, "mpp_from": pl.String},
    **{"level": pl.UInt8, "tile_mpp": pl.Float64, "damaged_share": pl.Float64, "notes": pl.String},
    **{"cells": pl.UInt32, "tiles": pl.UInt32},
    **{reason.replace(" ", "_"): pl.UInt32 for reason in REASONS},
}
"""Schema of slides.csv: one row a slide; cells = tiles + the counts of the reasons."""


def write_tables(
    output: Path, manifest: pl.DataFrame, slides: pl.DataFrame, sources: list[tuple[str, str, str | None]]
) -> None:
    """Write manifest.csv, manifest.parquet, slides.csv, and beside `output` the private table: sources = (slide_id,
    path, original patient) of every slide, readable by its owner only."""
    private = pl.DataFrame(
        sources, schema={"slide_id": pl.String, "path": pl.String, "original_patient": pl.String}, orient="row"
    )
    with writing(output.parent / f"{output.name}.sources.csv") as beside:
        beside.touch(mode=0o600)  # before the first byte
        write_csv(private, beside)
    for name, frame in (("slides.csv", slides), ("manifest.csv", manifest)):
        with writing(output / name) as beside:
            write_csv(frame, beside)
    with writing(output / "manifest.parquet") as beside:
        manifest.write_parquet(beside)
