"""Figure 3b: attack success rate against the number of iterations, at one ε and, as small multiples, at every other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from advassay.report.figures.axes import Horizontal
from advassay.report.figures.panels import panels
from advassay.report.theme import Style
from advassay.report.wording import grey_levels

if TYPE_CHECKING:
    import altair as alt

ITERATIONS = Horizontal("step", "Iterations", tooltip="iterations", smallest_tick=1)


def success_by_iteration(frame: pl.DataFrame, styles: Mapping[str, Style], *, width: int) -> alt.FacetChart:
    """`frame` at one ε: cohort, image_type, step, rate, low, high, n, events. `width` in CSS pixels."""
    wide = width > 500
    columns = frame["image_type"].n_unique() if wide else 1
    return panels(frame, ITERATIONS, styles, by="image_type", width=width, columns=columns, height=300 if wide else 240)


def success_by_iteration_at_every_epsilon(
    frame: pl.DataFrame, styles: Mapping[str, Style], *, width: int
) -> alt.FacetChart:
    """`frame` over several ε (column epsilon): one small panel each, rising."""
    named = frame.sort("epsilon", maintain_order=True).with_columns(
        panel=pl.col("epsilon").map_elements(lambda e: f"ε = {e:g} ({grey_levels(e)}/255)", return_dtype=pl.String)
    )
    columns = min(3 if width > 500 else 1, named["panel"].n_unique())
    return panels(named, ITERATIONS, styles, by="panel", width=width, columns=columns, height=170, mark=9)
