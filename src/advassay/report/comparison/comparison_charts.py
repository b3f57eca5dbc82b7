"""Stores side by side: success of each in one panel a cohort, and the paired differences from the first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from advassay.report.figures.chart_axes import Horizontal, epsilon_axis, label_room, panel_width
from advassay.report.figures.curve_panels import faceted, names_of, panels
from advassay.report.figures.theme import DASHES, MARKS, MUTED, SERIES_HUES, Style

if TYPE_CHECKING:
    import altair as alt

POINTS = "replace(format(100 * datum.value, '+~g'), /^[+](?=0$)/, '')"
"""An axis label in percentage points, signed."""
ITERATIONS = Horizontal("step", "Iterations", tooltip="iterations", smallest_tick=1)


def stores_over_epsilon(frame: pl.DataFrame, *, width: int) -> alt.FacetChart:
    """`frame`: store, cohort, epsilon, rate, low, high, n, events; a panel a cohort, a curve a store."""
    panel = panel_width(width, _columns(frame, width), label_room(frame["store"].unique()))
    return _curves(frame.sort("epsilon", maintain_order=True), epsilon_axis(frame["epsilon"], panel=panel), width)


def stores_over_iterations(frame: pl.DataFrame, *, width: int) -> alt.FacetChart:
    """The same over `step`."""
    return _curves(frame, ITERATIONS, width)


def _curves(frame: pl.DataFrame, x: Horizontal, width: int) -> alt.FacetChart:
    styles = {
        store: Style(SERIES_HUES[i % len(SERIES_HUES)], MARKS[i % len(MARKS)], tuple(DASHES[i % len(DASHES)]), i)
        for i, store in enumerate(names_of(frame, "store"))
    }
    return panels(
        frame, x, styles, by="cohort", width=width, columns=_columns(frame, width), height=190, series="store"
    )


def _columns(frame: pl.DataFrame, width: int) -> int:
    return min(2 if width > 500 else 1, frame["cohort"].n_unique())


def paired_differences(frame: pl.DataFrame, hues: Mapping[str, str], *, width: int) -> alt.FacetChart:
    """`frame`: store, cohort, epsilon, difference, low, high, n, p_adjusted; a panel a cohort; above 0 the store wins.

    Stores are told apart by mark and set side by side.
    """
    import altair as alt

    stores = names_of(frame, "store")
    grid = [f"{e:g}" for e in sorted(set(frame["epsilon"].to_list()))]
    placed = frame.with_columns(
        at=pl.col("epsilon").map_elements(lambda e: f"{e:g}", return_dtype=pl.String),
        colour=pl.col("cohort").replace_strict(dict(hues), return_dtype=pl.String),
        zero=pl.lit(0.0),
    )
    reach = float(placed.select(pl.max_horizontal(pl.col("low").abs(), pl.col("high").abs()).max()).item() or 0)
    scale = alt.Scale(domain=[-max(reach, 0.1), max(reach, 0.1)], nice=True)
    axis = alt.Axis(labelExpr=POINTS, tickCount=5)
    base = alt.Chart().encode(
        x=alt.X("at:N", sort=grid, title="ε", axis=alt.Axis(labelAngle=0, labelOverlap="greedy")),
        xOffset=alt.XOffset("store:N", sort=stores),
        color=alt.Color("colour:N", scale=None),
    )
    one = len(stores) == 1  # the caption names it
    legend = None if one else alt.Legend(title=None, orient="top", symbolFillColor=MUTED, symbolStrokeColor=MUTED)
    marks = alt.Scale(domain=stores, range=[MARKS[(i + 1) % len(MARKS)] for i in range(len(stores))])
    told = [
        "store:N", alt.Tooltip("epsilon:Q", title="ε", format="~g"),
        alt.Tooltip("difference:Q", title="difference", format="+.1%"),
        alt.Tooltip("low:Q", title="interval from", format="+.1%"),
        alt.Tooltip("high:Q", title="to", format="+.1%"), alt.Tooltip("n:Q", title="images"),
        alt.Tooltip("p_adjusted:Q", title="p, Holm over cohorts and ε", format=".2g"),
    ]  # fmt: skip
    rate = alt.Y("low:Q", scale=scale, axis=axis, title="Difference, points")
    layers = [
        alt.Chart().mark_rule(color=MUTED).encode(y=alt.Y("zero:Q", scale=scale, axis=axis)),
        base.mark_rule(strokeWidth=1.5).encode(y=rate, y2="high:Q"),
        base.mark_point(size=46).encode(
            y=alt.Y("difference:Q", scale=scale), shape=alt.Shape("store:N", scale=marks, legend=legend), tooltip=told
        ),
    ]
    return faceted(alt.layer(*layers), placed, "cohort", width=width, columns=_columns(frame, width), height=170)
