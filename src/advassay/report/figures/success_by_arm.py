"""Success by attack arm and by reading: what update, loss, step size or judging any iterate change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import polars as pl

from advassay.report.data.findings import Findings
from advassay.report.figures.chart_axes import epsilon_axis, label_room, panel_width
from advassay.report.figures.curve_panels import panels
from advassay.report.figures.figure import FIGURES, Figure, figure
from advassay.report.figures.theme import DASHES, MARKS, SERIES_HUES, Style, colours_of
from advassay.report.text import captions
from advassay.report.text.number_format import listed

if TYPE_CHECKING:
    import altair as alt


def success_by_arm(frame: pl.DataFrame, hues: Mapping[str, str], *, width: int) -> alt.FacetChart:
    """`frame` of one reading: cohort, image_type, arm, step_size, epsilon, rate, …; a panel per cohort.

    `hues`: its cohorts give the order of panels; arms (and step sizes, where an arm has several) differ
    by colour, mark and dash, the same in every panel.
    """
    many = frame.group_by("arm").agg(pl.col("step_size").n_unique())["step_size"].max() != 1
    named = frame.with_columns(curve=pl.col("arm") + ", step " + pl.col("step_size") if many else pl.col("arm"))
    return _compared(named, hues, width, SERIES_HUES)


def last_against_any(frame: pl.DataFrame, hues: Mapping[str, str], *, width: int) -> alt.FacetChart:
    """`frame` of one arm and step size with both readings (column success): what success at the last iterate misses."""
    return _compared(frame.with_columns(curve=pl.col("success")), hues, width)


def _compared(frame: pl.DataFrame, hues: Mapping[str, str], width: int, own: Sequence[str] = ()) -> alt.FacetChart:
    """Curves of one cohort in one panel, told apart by mark and dash; in its hue, or each in one of its `own`."""
    series = pl.col("cohort") + " · " + pl.col("curve")
    named = frame.with_columns(series=series).sort("epsilon", maintain_order=True)
    curves = frame["curve"].unique(maintain_order=True).to_list()
    styles = {
        f"{cohort} · {curve}": Style(
            own[i % len(own)] if own else hue, MARKS[i % len(MARKS)], tuple(DASHES[i % len(DASHES)]), i
        )
        for cohort, hue in hues.items()
        for i, curve in enumerate(curves)
    }
    columns = min(2 if width > 500 else 1, frame["cohort"].n_unique())
    x = epsilon_axis(frame["epsilon"].to_list(), panel=panel_width(width, columns, label_room(curves)))
    order = pl.DataFrame({"cohort": list(hues)})
    by_cohort = order.join(named, on="cohort", maintain_order="left_right")
    return panels(
        by_cohort, x, styles, by="cohort", width=width, columns=columns, height=190, series="series", label="curve"
    )


@FIGURES.register
@figure("fig-arms", section="results", order=90)
def fig_arms(findings: Findings) -> Figure | None:
    """Success against ε of every arm and step size."""
    frame = findings.tables["success_by_arm"].filter(success=findings.plan.success)
    if frame.select("arm", "step_size").n_unique() < 2:
        return None
    return Figure(
        "Success by attack arm and step size",
        f"Attack success rate against ε {captions.when(findings)}; ε is logarithmic where arms differ in scale. "
        f"Colour and mark tell arms apart. "
        f"{captions.every_attack(findings, every_step_size=True)}. {captions.statistics(frame, findings)}. Arms may "
        "have attacked different numbers of images.",
        "Success against ε for the arms " + listed(findings.records.arms) + ", one panel per cohort.",
        lambda width: success_by_arm(frame, colours_of(findings.cohorts), width=width), "success_by_arm", frame,
    )  # fmt: skip


@FIGURES.register
@figure("fig-readings", section="results", order=100)
def fig_readings(findings: Findings) -> Figure:
    """Success at the last iterate and at any iterate, over ε."""
    first = findings.shown_step_sizes()
    frame = findings.of_main_arm("success_by_arm")
    frame = frame.filter(pl.col("step_size") == pl.col("cohort").replace_strict(first))
    return Figure(
        "Success at the last iterate and at any iterate",
        "Attack success rate against ε at the last iterate (last) and at any iterate up to it (any). Where the two "
        "differ, success was reached and lost again. "
        f"{captions.main_attack(findings)}. "
        f"{captions.statistics(frame, findings)}.",
        "Two curves per cohort over ε: success at the last iterate and at any iterate.",
        lambda width: last_against_any(frame, colours_of(findings.cohorts), width=width), "success_by_arm", frame,
    )  # fmt: skip
