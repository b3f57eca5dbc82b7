"""Figure 3d: attack success rate against the number of training images; one point is one network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from advassay.report.data.findings import Findings
from advassay.report.figures.chart_axes import Horizontal, rate_axis, tooltips
from advassay.report.figures.curve_panels import colours, faceted
from advassay.report.figures.figure import FIGURES, Figure, figure
from advassay.report.figures.theme import Style, styles
from advassay.report.text import captions
from advassay.report.text.number_format import amplitude

if TYPE_CHECKING:
    import altair as alt


def success_by_training_size(frame: pl.DataFrame, styles: Mapping[str, Style], *, width: int) -> alt.FacetChart:
    """`frame`: cohort, train_size, seed, rate, low, high, n, events: one row per network. Line: mean over seeds.

    Networks of one size are set side by side, so that their intervals can be told apart.
    """
    import altair as alt

    columns = min(2 if width > 500 else 1, frame["cohort"].n_unique())
    sizes = sorted(set(frame["train_size"].to_list()))
    aside = _aside(frame)
    x = alt.X(
        "at:Q",
        scale=alt.Scale(type="log", base=2, nice=False, padding=24),
        axis=alt.Axis(
            title="Training images", values=sizes, format="~s" if sizes[-1] >= 10_000 else "d", labelOverlap="greedy"
        ),
    )
    base = alt.Chart().encode(color=colours(frame, styles))
    told = Horizontal("train_size", "", tooltip="training images")
    layers = [
        base.mark_line(opacity=0.5, strokeDash=[4, 3]).encode(x=x, y=alt.Y("mean:Q", **rate_axis())),
        base.mark_rule(strokeWidth=1.5, opacity=0.55).encode(x=x, y=alt.Y("low:Q", **rate_axis()), y2="high:Q"),
        base.mark_point(size=46).encode(
            x=x, y=alt.Y("rate:Q", **rate_axis()), tooltip=[*tooltips(told), alt.Tooltip("seed:Q", title="seed")]
        ),
    ]
    narrower = min(width, 580 * columns)
    return faceted(alt.layer(*layers), aside, "cohort", width=narrower, columns=columns, height=260)


def _aside(frame: pl.DataFrame) -> pl.DataFrame:
    """With `at`, where a network is drawn (its size moved by up to 4 % per place among its seeds), and `mean`."""
    group = ["cohort", "train_size"]
    place = pl.int_range(pl.len()).over(group) - (pl.len().over(group) - 1) / 2
    return frame.sort("train_size", "seed", maintain_order=True).with_columns(
        at=pl.col("train_size") * (1 + 0.04 * place), mean=pl.col("rate").mean().over(group)
    )


@FIGURES.register
@figure("fig-3d", section="results", order=70, number="3d")
def fig3d(findings: Findings) -> Figure | None:
    """Success against the number of training images."""
    frame = findings.tables.get("success_by_training_size")
    if frame is None or findings.series_epsilon is None:
        return None
    seeds = frame["seed"].n_unique()
    return Figure(
        f"Success against training-set size at {amplitude(findings.series_epsilon)}",
        "Attack success rate of networks trained on nested subsets, the same validation images and number of "
        f"updates for every size, at {amplitude(findings.series_epsilon)}, {captions.when(findings)}. "
        f"One point is one network "
        f"({len(frame)} networks, {seeds} seed{'s' if seeds > 1 else ''}); the dashed line joins the means over seeds. "
        f"{_series_arm(findings)}. {captions.statistics(frame, findings, points=False)}. They hold the spread "
        f"between images, not that between networks.{captions.margin(findings, 5)}",
        captions.describe_endpoints(frame, "train_size", "training images"),
        lambda width: success_by_training_size(frame, styles(findings.cohorts), width=width),
        "success_by_training_size", frame,
    )  # fmt: skip


def _series_arm(findings: Findings) -> str:
    """The attack of figure 3d in words, and whether conclusion 5 rests on another one."""
    arm = findings.series_arm
    said = captions.attack([h for h in findings.runs if h.arm == arm], findings.step_size(arm))
    if arm == findings.main_arm:
        return said
    return f"{said}; conclusion 5 is judged in arm {findings.main_arm}, which attacked no networks of other sizes"
