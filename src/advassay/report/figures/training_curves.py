"""How each cohort's main network learned: training and tuning loss, and tuning accuracy, over optimiser updates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from advassay.report.figures.panels import AXIS_ROOM, colours, names_of, spacing, with_axes
from advassay.report.theme import Style

if TYPE_CHECKING:
    import altair as alt

QUANTITIES = {"training_loss": "training loss", "tuning_loss": "tuning loss", "tuning_accuracy": "tuning accuracy"}


def training_curves(frame: pl.DataFrame, styles: Mapping[str, Style], *, width: int) -> alt.FacetChart:
    """`frame`: cohort, update, training_loss, tuning_loss, tuning_accuracy; one network a cohort, one panel each."""
    import altair as alt

    columns = min(4 if width > 500 else 1, frame["cohort"].n_unique())
    long = frame.select("cohort", "update", *QUANTITIES).unpivot(
        index=["cohort", "update"], variable_name="column", value_name="value"
    )
    named = long.drop_nulls("value").with_columns(quantity=pl.col("column").replace_strict(QUANTITIES))
    dash = alt.StrokeDash(
        "quantity:N",
        scale=alt.Scale(domain=list(QUANTITIES.values()), range=[[1, 0], [7, 3], [2, 2]]),
        legend=alt.Legend(
            title=None,
            symbolType="stroke",
            symbolSize=300,
            symbolStrokeColor="#1a1a1a",
            orient="top",
            columns=3 if width > 500 else 2,
        ),
    )
    line = (
        alt.Chart()
        .mark_line(point=alt.OverlayMarkDef(size=20))
        .encode(
            x=alt.X("update:Q", title="Optimiser updates", axis=alt.Axis(tickCount=4, tickMinStep=1)),
            y=alt.Y("value:Q", title="Loss; accuracy"),
            strokeDash=dash,
            color=colours(frame, styles),
            tooltip=["cohort:N", "quantity:N", "update:Q", alt.Tooltip("value:Q", format=".3f")],
        )
        .properties(width=(width - AXIS_ROOM) // columns - 22, height=150)
    )
    chart = line.facet(
        facet=alt.Facet("cohort:N", sort=names_of(frame, "cohort"), title=None),
        data=alt.Data(values=named.to_dicts()),
        columns=columns,
        spacing=spacing(20),
    )
    return with_axes(chart, frame["cohort"].n_unique(), columns)
