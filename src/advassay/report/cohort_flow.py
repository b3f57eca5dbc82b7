"""The flow charts of all prepared cohorts as one table."""

from __future__ import annotations

import polars as pl

from advassay.flow_chart import flow_of, tidy
from advassay.records.store import Records
from advassay.report.cohort_tables import preparations

FLOW = {
    "cohort": pl.String, "place": pl.Int64, "stage": pl.String, "part": pl.String, "what": pl.String,
    "images": pl.Int64,
}  # fmt: skip


def flow(records: Records) -> pl.DataFrame:
    """One number a row: part says which (entering | left out | kept | reason | class | role), what names it."""
    rows = [row for preparation in preparations(records) for row in tidy(flow_of(preparation))]
    return pl.DataFrame(rows, schema=FLOW)
