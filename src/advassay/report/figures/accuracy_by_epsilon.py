"""Robust accuracy beside success: the share of all images still classified correctly, from the clean images on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from advassay.report.figures.axes import epsilon_axis
from advassay.report.figures.panels import panels
from advassay.report.theme import Style

if TYPE_CHECKING:
    import altair as alt


def accuracy_by_epsilon(frame: pl.DataFrame, styles: Mapping[str, Style], *, width: int) -> alt.FacetChart:
    """`frame`: cohort, image_type, epsilon (0 = clean), accuracy, low, high, n; a panel per image type."""
    rated = frame.with_columns(
        rate=pl.col("accuracy"), events=(pl.col("accuracy") * pl.col("n")).round().cast(pl.Int64)
    )
    wide = width > 500
    return panels(
        rated,
        epsilon_axis(frame["epsilon"].to_list(), "ε, 0 = clean (below it, in grey levels of 255)"),
        styles,
        by="image_type",
        width=width,
        columns=frame["image_type"].n_unique() if wide else 1,
        height=260 if wide else 220,
        title="Robust accuracy",
    )
