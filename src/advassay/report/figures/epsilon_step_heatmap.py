"""Success as colour over iterations and ε, one row of panels for each arm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from advassay.report.data.findings import Findings
from advassay.report.figures.chart_axes import AXIS_ROOM, GAP, PERCENT, Horizontal, tooltips
from advassay.report.figures.curve_panels import names_of
from advassay.report.figures.figure import FIGURES, Figure, figure
from advassay.report.text import captions
from advassay.report.text.number_format import grey_levels

if TYPE_CHECKING:
    import altair as alt


ROW = 17
"""Height of one amplitude in CSS pixels."""
SCHEME: Literal["cividis"] = "cividis"
"""Readable with every colour vision and in grey print (Nuñez, Anderton & Renslow 2018, PLoS ONE 13 e0199239)."""


def success_surface(frame: pl.DataFrame, *, width: int) -> alt.VConcatChart:
    """`frame`: cohort, arm, epsilon, step, rate, low, high, n, events; the last iterate's rate is written beside it."""
    import altair as alt

    columns = min(4 if width > 500 else 1, frame["cohort"].n_unique())
    rows = [_arm(part, width, columns) for part in frame.partition_by("arm", maintain_order=True)]
    return alt.vconcat(*rows, spacing=26)


def _arm(frame: pl.DataFrame, width: int, columns: int) -> alt.FacetChart:
    import altair as alt

    cells = _cells(frame)
    rising = frame.select("epsilon").unique().sort("epsilon", descending=True)["epsilon"].to_list()
    y = alt.Y("row:N", title="ε (of 255)", sort=[_row_name(e) for e in rising], axis=alt.Axis(grid=False))
    base = alt.Chart().encode(y=y)
    heat = base.mark_rect().encode(
        x=alt.X("from:Q", title="Iterations", scale=alt.Scale(nice=False, zero=False), axis=_whole()),
        x2="step:Q",
        color=alt.Color("rate:Q", scale=alt.Scale(domain=[0, 1], scheme=SCHEME), legend=_legend(columns)),
        tooltip=[alt.Tooltip("row:N", title="ε (of 255)"), *_told()],
    )
    last = base.transform_filter("isValid(datum.last)").mark_text(align="left", dx=4, fontSize=10)
    end = last.encode(x="step:Q", text="last:N")
    room = 34
    panel = (width - AXIS_ROOM - 30 - (columns - 1) * GAP) // columns - room
    faceted = alt.layer(heat, end).properties(width=panel, height=max(ROW * len(rising), 60))
    panels = faceted.facet(
        facet=alt.Facet("panel:N", sort=names_of(cells, "panel"), title=None),
        data=alt.Data(values=cells.to_dicts()),
        columns=columns,
        spacing={"row": 20, "column": GAP},
    )
    # as in `curve_panels.faceted`: no axis under an empty place
    return panels.resolve_axis(x="independent") if cells["panel"].n_unique() % columns else panels


def _told() -> list[alt.Tooltip]:
    return tooltips(Horizontal("step", "", tooltip="iterations"), series="panel")


def _cells(frame: pl.DataFrame) -> pl.DataFrame:
    """With the edges of each cell, its row's name and, at the last iterate, the rate as text."""
    final = pl.col("step") == pl.col("step").max().over("cohort", "epsilon")
    text = pl.format("{} %", (100 * pl.col("rate")).round(0).cast(pl.Int64, strict=False))
    rows = frame["epsilon"].map_elements(_row_name, return_dtype=pl.String)
    made = frame.with_columns(
        (pl.col("step") - 1).alias("from"), row=rows, panel=pl.format("{} · arm {}", "cohort", "arm"),
        last=pl.when(final & pl.col("rate").is_not_null()).then(text),
    )  # fmt: skip
    shown = ["panel", "row", "from", "step", "rate", "low", "high", "n", "events", "last"]
    return made.select(shown).with_columns(pl.col("rate", "low", "high").round(4))


def _row_name(epsilon: float) -> str:
    return f"{epsilon:g} ({grey_levels(epsilon)})"


def _whole() -> Any:
    import altair as alt

    return alt.Axis(tickMinStep=1, tickCount=5)


def _legend(columns: int) -> Any:
    import altair as alt

    return alt.Legend(
        title="Success rate", labelExpr=PERCENT, values=[0, 0.5, 1], orient="top", gradientLength=160,
        titleLimit=300, direction="horizontal", titleOrient="left" if columns > 1 else "top",
    )  # fmt: skip


@FIGURES.register
@figure("fig-surface", section="results", order=80, supplement=True)
def fig_surface(findings: Findings) -> Figure:
    """Success as colour over ε and iterations, by arm."""
    frame = findings.tables["success_by_iteration"]
    return Figure(
        "Success over amplitude and iterations",
        "Attack success rate as colour over iterations (across) and ε (upwards; in brackets, grey levels of 255); "
        f"{captions.OVER_ITERATIONS[findings.plan.success]}. The number at the right is the rate at the last iterate. "
        f"{captions.every_attack(findings)}. {captions.statistics(frame, findings, points=False)}. The interval of "
        f"each cell is in "
        "its tooltip and in the table.",
        "Heat maps of success over ε and iterations, one per cohort and arm. At the largest ε, "
        + captions.describe_endpoints(findings.of_main_arm("success_by_iteration").filter(
            pl.col("epsilon") == pl.col("epsilon").max()), "step", "iteration", "success of the main arm"),
        lambda width: success_surface(frame, width=width), "success_by_iteration", frame,
    )  # fmt: skip
