"""Iterations to success as survival curves: the share of attackable images that no iterate so far has felled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from advassay.report.figures.axes import Horizontal
from advassay.report.figures.panels import panels
from advassay.report.theme import Style
from advassay.report.wording import amplitude

if TYPE_CHECKING:
    import altair as alt

ITERATIONS = Horizontal("step", "Iterations", tooltip="iterations", smallest_tick=1)


def iteration_survival_curves(frame: pl.DataFrame, styles: Mapping[str, Style], *, width: int) -> alt.FacetChart:
    """`frame`: cohort, arm, epsilon, step, surviving, low, high, n, events (fallen so far); a panel an arm."""
    named = frame.with_columns(
        rate="surviving", events=pl.col("n") - pl.col("events"),
        at=pl.col("epsilon").map_elements(amplitude, return_dtype=pl.String),
    )  # fmt: skip
    titled = named.with_columns(panel=pl.format("Arm {}, {}", "arm", "at"))
    columns = min(2 if width > 500 else 1, titled["panel"].n_unique())
    return panels(
        titled, ITERATIONS, styles, by="panel", width=width, columns=columns, height=210, title="Still standing",
        steps=True, mark=12,
    )  # fmt: skip
