"""Queries to success: the share of images that a search has not misled yet, over its queries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from advassay.report.data.findings import Findings
from advassay.report.figures.figure import FIGURES, Figure, figure
from advassay.report.text import captions

if TYPE_CHECKING:
    import altair as alt


def query_curves(frame: pl.DataFrame, *, width: int) -> alt.TopLevelMixin:
    """`frame`: cohort, arm, epsilon, queries, surviving, low, high, n; a panel for each cohort and arm."""
    import altair as alt

    columns = 2 if width > 500 else 1
    told = frame.with_columns(
        panel=pl.format("{} · arm {}", "cohort", "arm"), amplitude=pl.col("epsilon").map_elements(
            lambda epsilon: f"{epsilon:g}", return_dtype=pl.String)
    )  # fmt: skip
    share: dict[str, Any] = {"scale": alt.Scale(domain=[0, 1]), "axis": alt.Axis(format="%")}
    base = alt.Chart().encode(
        x=alt.X("queries:Q", title="queries"),
        color=alt.Color("amplitude:N", sort=None, title="ε", scale=alt.Scale(scheme="viridis")),
        tooltip=["panel:N", "amplitude:N", "queries:Q", alt.Tooltip("surviving:Q", format=".1%"), "n:Q"],
    )
    line = base.mark_line(interpolate="step-after").encode(y=alt.Y("surviving:Q", title="not misled yet", **share))
    band = base.mark_area(interpolate="step-after", opacity=0.12).encode(y=alt.Y("low:Q", **share), y2="high:Q")
    panel = (width - 70 - (columns - 1) * 30) // columns
    return alt.layer(band, line).properties(width=panel, height=200).facet(
        facet=alt.Facet("panel:N", title=None, sort=None), columns=columns, data=alt.Data(values=told.to_dicts())
    )  # fmt: skip


@FIGURES.register
@figure("fig-queries", section="results", order=195)
def fig_queries(findings: Findings) -> Figure | None:
    """Share of images that a search has not misled, over its queries."""
    frame = findings.tables.get("query_survival")
    if frame is None:
        return None
    ends = frame.unique(["cohort", "arm", "epsilon"], maintain_order=True)
    told = "; ".join(
        f"{cohort}, arm {arm}, ε {epsilon:g}: {median}"
        for cohort, arm, epsilon, median in ends.select("cohort", "arm", "epsilon", "median").iter_rows()
    )
    return Figure(
        "Queries to success",
        "Share of attackable images that a search has not misled with so many queries (Kaplan–Meier; every image is "
        f"followed to the end of its search), by ε. {captions.statistics(frame, findings)}.",
        f"Step curves that fall. Query by which half of the images are misled: {told}.",
        lambda width: query_curves(frame, width=width), "query_survival", frame,
    )  # fmt: skip
