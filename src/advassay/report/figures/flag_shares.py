"""Guards and failure indicators over ε: the share of attacked images that carry each, by arm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from advassay.report.data.findings import Findings
from advassay.report.figures.chart_axes import PERCENT
from advassay.report.figures.curve_panels import names_of
from advassay.report.figures.figure import FIGURES, Figure, figure
from advassay.report.figures.theme import INK
from advassay.report.text import captions
from advassay.report.text.number_format import percent

if TYPE_CHECKING:
    import altair as alt


ROW = 22
LEGIBLE = 26
"""Narrower cells carry no number: colour, tooltip and table tell it."""
HIGHEST = "#7b3200"
"""Dark enough for white numbers (contrast above 7 : 1)."""


def flag_shares(frame: pl.DataFrame, *, width: int) -> alt.ConcatChart:
    """`frame`: arm, flag, epsilon, n, events, share (pooled over cohorts); one matrix an arm, numbers in percent."""
    import altair as alt

    columns = 2 if width > 500 else 1
    charts = [
        _arm(part, str(name), width // columns - 150) for (name,), part in frame.group_by("arm", maintain_order=True)
    ]
    return alt.concat(*charts, columns=columns, spacing={"row": 24, "column": 30})


def _arm(frame: pl.DataFrame, arm: str, room: int) -> alt.LayerChart | alt.FacetChart:
    import altair as alt

    told = frame.with_columns(
        flag=pl.col("flag").str.replace_all("_", " "),
        text=pl.when(pl.col("events") == 0).then(pl.lit("0")).otherwise(
            (100 * pl.col("share")).round_sig_figs(2).map_elements(lambda v: f"{v:g}", return_dtype=pl.String)
        ),
    )  # fmt: skip
    amplitudes = [f"{e:g}" for e in sorted(set(frame["epsilon"].to_list()))]
    cells = told.with_columns(at=pl.col("epsilon").map_elements(lambda e: f"{e:g}", return_dtype=pl.String))
    bare: dict[str, Any] = {"grid": False, "domain": False, "ticks": False}
    across = alt.Axis(**bare, labelAngle=0, labelOverlap="greedy", labelSeparation=4)
    base = alt.Chart(alt.Data(values=cells.to_dicts())).encode(
        x=alt.X("at:N", sort=amplitudes, title="ε", axis=across),
        y=alt.Y("flag:N", sort=names_of(cells, "flag"), title=None, axis=alt.Axis(**bare)),
        tooltip=["flag:N", alt.Tooltip("epsilon:Q", title="ε", format="~g"), alt.Tooltip("events:Q", title="images"),
                 alt.Tooltip("n:Q", title="of")],
    )  # fmt: skip
    scale = alt.Scale(domain=[0, 1], range=["#ffffff", HIGHEST], interpolate="rgb")
    legend = alt.Legend(title="Share of images", labelExpr=PERCENT, values=[0, 0.5, 1], orient="top", titleLimit=200)
    heat = base.mark_rect(stroke="#ffffff").encode(color=alt.Color("share:Q", scale=scale, legend=legend))
    numbers = base.mark_text(fontSize=10).encode(
        text="text:N", color=alt.condition("datum.share > 0.5", alt.value("#ffffff"), alt.value(INK))
    )
    side = min(44, room // max(len(amplitudes), 1))
    return alt.layer(heat, *([numbers] if side >= LEGIBLE else [])).properties(
        width=side * len(amplitudes), height=ROW * cells["flag"].n_unique(),
        title=alt.TitleParams(f"Arm {arm}", anchor="start", color=INK),
    )  # fmt: skip


@FIGURES.register
@figure("fig-flags", section="evidence", order=30, supplement=True)
def fig_flags(findings: Findings) -> Figure | None:
    """Share of flagged images over ε, by arm."""
    every = findings.tables.get("flags_by_epsilon")
    if every is None:
        return None
    frame = every.filter(pl.col("events").sum().over("arm", "flag") > 0)
    top = frame.sort("share", descending=True).head(3)
    said = [
        f"{r['flag'].replace('_', ' ')} {percent(r['share'], 0)} (arm {r['arm']}, ε = {r['epsilon']:g})"
        for r in top.iter_rows(named=True)
    ]
    return Figure(
        "Guards and failure indicators over ε",
        "Share of attacked images that carry each flag, pooled over cohorts, in percent. Flags that no image of an arm "
        "carries are left out; the table of flags says what each means. A low success rate beside many flags shows a "
        f"failed attack, not robustness. {captions.every_attack(findings, every_step_size=True)}. "
        f"n = {captions.span(frame['n'])} images at each ε; "
        "counts, no intervals.",
        f"Share of flagged images by arm and ε; most often: {'; '.join(said)}.",
        lambda width: flag_shares(frame, width=width), "flags_by_epsilon", frame,
    )  # fmt: skip
