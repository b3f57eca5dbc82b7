"""Which columns of the slides' table travel with their tiles: the room's one rule, applied to slides."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from advassay.sources.carried import carried_columns
from advassay.sources.slides.finding import SlideFile
from advassay.sources.slides.slide_table import SlideTable


def carried_table(table: SlideTable, slides: Sequence[SlideFile]) -> tuple[dict[str, pl.DataType], dict[str, str]]:
    """Columns that may travel with their types, and why each other one stays (see carried_columns)."""
    rows = [table.row(slide) for slide in slides]
    frame = pl.DataFrame(
        {name: [row.carried.get(name) for row in rows] for name in table.columns}, schema=dict(table.columns)
    )
    patients = pl.Series([row.patient for row in rows], dtype=pl.String)
    names, reasons = carried_columns(frame, [patients])
    return {name: table.columns[name] for name in names}, reasons
