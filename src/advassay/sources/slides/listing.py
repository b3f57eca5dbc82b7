"""The tables of a tiles folder: a row a tile, a row a slide, and the private one beside it."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from advassay.csv_export import write_csv
from advassay.layout import writing
from advassay.sources.slides.cutting import REASONS

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
