"""Figure 3a: attack success rate against the amplitude ε, after the last iteration; one panel per image type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from advassay.report.figures.axes import epsilon_axis
from advassay.report.figures.panels import panels
from advassay.report.theme import Style

if TYPE_CHECKING:
    import altair as alt


def success_by_epsilon(frame: pl.DataFrame, styles: Mapping[str, Style], *, width: int) -> alt.FacetChart:
    """`frame`: cohort, image_type, epsilon, rate, low, high, n, events. `width` in CSS pixels."""
    kinds = frame["image_type"].n_unique()
    columns = kinds if width > 500 else 1
    return panels(
        frame.sort("epsilon", maintain_order=True),
        epsilon_axis(frame["epsilon"].to_list()),
        styles,
        by="image_type",
        width=width,
        columns=columns,
        height=300 if width > 500 else 240,
    )
