"""Figure 3c: attack success rate in bins of the clean confidence, with the number of images under each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from advassay.report.data.findings import Findings
from advassay.report.figures.chart_axes import Horizontal, rate_axis, tooltips
from advassay.report.figures.curve_panels import colours, faceted, points
from advassay.report.figures.figure import FIGURES, Figure, figure
from advassay.report.figures.theme import MUTED, Style, styles
from advassay.report.text import captions
from advassay.report.text.number_format import amplitude, listed, percent

if TYPE_CHECKING:
    import altair as alt


FIRST_EDGE = 0.5
BELOW = (0.445, 0.495)
"""Where the one bin of images below 0.5 is drawn."""
COUNT_AT = -0.07
"""Height of the line of image counts, on the scale of rates; suspect images are a line below."""


def success_by_confidence(frame: pl.DataFrame, styles: Mapping[str, Style], *, width: int) -> alt.FacetChart:
    """`frame` of one arm: cohort, bin, bin_low, bin_high, rate, low, high, n, events, suspect_images; an empty bin
    shows 0 only, suspect images stand below their bin behind a †.
    """
    import altair as alt

    columns = min(2 if width > 500 else 1, frame["cohort"].n_unique())
    suspects = bool((frame["suspect_images"] > 0).any())
    share = rate_axis(low=(3 if suspects else 2) * COUNT_AT)
    x = _confidence_axis(bool((frame["bin_low"] < FIRST_EDGE).any()))
    every = alt.Chart().encode(x=alt.X("middle:Q", **x))
    several = alt.Chart().transform_filter("datum.n > 1").encode(color=colours(frame, styles))
    middle = alt.Chart().encode(x=alt.X("middle:Q", **x), color=colours(frame, styles))
    layers = [
        several.mark_rect(opacity=0.2).encode(
            x=alt.X("left:Q", **x), x2="right:Q", y=alt.Y("zero:Q", **share), y2="rate:Q"
        ),
        several.mark_rule(strokeWidth=1.5).encode(x=alt.X("middle:Q", **x), y=alt.Y("low:Q", **share), y2="high:Q"),
        *points(
            middle.encode(y=alt.Y("rate:Q", **share), tooltip=tooltips(Horizontal("bin", "", kind="N"))), frame, size=40
        ),
        every.mark_text(fontSize=10, color=MUTED).encode(y=alt.Y("count_at:Q", **share), text="n:Q"),
    ]
    if suspects:
        marked = (
            alt.Chart()
            .transform_filter("datum.suspect_images > 0")
            .transform_calculate(told="'†' + datum.suspect_images")
        )
        layers.append(
            marked.mark_text(fontSize=10, color=MUTED).encode(
                x=alt.X("middle:Q", **x), y=alt.Y("suspects_at:Q", **share), text="told:N"
            )
        )
    return faceted(alt.layer(*layers), _placed(frame), "cohort", width=width, columns=columns, height=190)


def _confidence_axis(below: bool) -> dict[str, Any]:
    import altair as alt

    middle = sum(BELOW) / 2
    ticks = [*([middle] if below else []), *([] if below else [0.5]), 0.6, 0.7, 0.8, 0.9, 1.0]
    axis = alt.Axis(
        title="Clean confidence (numbers: images)",
        values=ticks,
        labelExpr="datum.value < 0.5 ? '< 0.5' : format(datum.value, '.1f')",
    )
    return {"scale": alt.Scale(domain=[BELOW[0] if below else FIRST_EDGE, 1.0], nice=False, padding=4), "axis": axis}


def _placed(frame: pl.DataFrame) -> pl.DataFrame:
    """With the edges at which each bin is drawn."""
    below = pl.col("bin_low") < FIRST_EDGE
    edges = frame.with_columns(
        left=pl.when(below).then(BELOW[0]).otherwise("bin_low"),
        right=pl.when(below).then(BELOW[1]).otherwise("bin_high"),
        zero=pl.lit(0.0),
        count_at=pl.lit(COUNT_AT),
        suspects_at=pl.lit(2 * COUNT_AT),
    )
    return edges.with_columns(middle=(pl.col("left") + pl.col("right")) / 2)


@FIGURES.register
@figure("fig-3c", section="results", order=60, number="3c")
def fig3c(findings: Findings) -> Figure:
    """Success in bins of the clean confidence."""
    frame = findings.of_main_arm("success_by_confidence").filter(epsilon=findings.epsilon)
    used = [
        cohort for cohort, below in frame.filter(pl.col("bin_low") < 0.5).select("cohort", "n").iter_rows() if below
    ]
    apart = f" Images of {listed(used)} below 0.5 have a bin of their own." if used else ""
    return Figure(
        f"Success against clean confidence at {amplitude(findings.epsilon)}",
        "Attack success rate by the largest probability of the clean image (softmax in float64), in ten bins "
        f"[low, high) over [0.5, 1], the last one closed, at {amplitude(findings.epsilon)}, "
        f"{captions.when(findings)}.{apart} "
        f"{captions.main_attack(findings)}. Numbers above the axis: attackable images n of each bin; open points rest "
        f"on fewer than 5.{_suspects(frame)} "
        f"{captions.intervals(frame, findings.level)}.{captions.margin(findings, 4)} The other arms "
        "are in tables/success_by_confidence.csv.",
        "Success rate with interval in ten bins of clean confidence for "
        + listed([f"{c} ({_high_confidence(frame, c)})" for c in findings.cohorts]) + ".",
        lambda width: success_by_confidence(frame, styles(findings.cohorts), width=width),
        "success_by_confidence", frame,
    )  # fmt: skip


def _suspects(frame: pl.DataFrame) -> str:
    if not (frame["suspect_images"] > 0).any():
        return ""
    return (
        " †: those of them that are flagged as saturated or without a gradient. They may be classified correctly "
        "because "
        "the attack failed, not because the network is robust."
    )


def _high_confidence(frame: pl.DataFrame, cohort: str) -> str:
    top = frame.filter(cohort=cohort).sort("bin_low").row(-1, named=True)
    return f"{percent(top['rate'], 0)} of {top['n']} in the highest bin {top['bin']}"
