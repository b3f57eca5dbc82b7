"""Success by attack arm and by reading: what update, loss, step size or judging any iterate change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from advassay.report.data.findings import Findings
from advassay.report.figures.chart_axes import epsilon_axis, label_room, panel_width
from advassay.report.figures.curve_panels import names_of, panels
from advassay.report.figures.figure import FIGURES, Figure, figure
from advassay.report.figures.theme import DASHES, MARKS, PALE, SERIES_HUES, Style
from advassay.report.text import captions
from advassay.report.text.number_format import listed

if TYPE_CHECKING:
    import altair as alt


SATURATED = 0.98
"""An arm that misclassifies this share already at its smallest amplitude, in every cohort, shows no curve."""
READINGS = ("last", "any")


def success_by_arm(frame: pl.DataFrame, cohorts: Sequence[str], *, width: int) -> alt.FacetChart:
    """`frame` of one reading: cohort, image_type, arm, step_size, epsilon, rate, …; a panel per cohort.

    Arms (and step sizes, where an arm has several) differ by colour, mark and dash, the same in every panel. Those that
    saturate are drawn in grey, behind the others.
    """
    many = frame.group_by("arm").agg(pl.col("step_size").n_unique())["step_size"].max() != 1
    name = pl.format("arm {}, step {}", "arm", "step_size") if many else pl.format("arm {}", "arm")
    named = frame.with_columns(curve=name)
    flat = saturated(named, "curve")
    return _compared(named, cohorts, width, flat)


def saturated(frame: pl.DataFrame, by: str) -> list[str]:
    """Values of `by` whose success is at the top at the smallest amplitude already, in every cohort."""
    first = frame.filter(pl.col("n") > 0, pl.col("epsilon") == pl.col("epsilon").min().over(by, "cohort"))
    lowest = first.group_by(by, maintain_order=True).agg(pl.col("rate").min())
    return lowest.filter(pl.col("rate") >= SATURATED)[by].to_list()


def last_against_any(frame: pl.DataFrame, cohorts: Sequence[str], *, width: int) -> alt.FacetChart:
    """`frame` of one arm and step size with both readings (column success): what success at the last iterate misses."""
    return _compared(frame.with_columns(curve=pl.col("success")), cohorts, width)


def _compared(frame: pl.DataFrame, cohorts: Sequence[str], width: int, grey: Sequence[str] = ()) -> alt.FacetChart:
    """Curves (column curve) in one panel a cohort, apart by hue, mark and dash; those in `grey` are drawn first."""
    leading = [name for name in names_of(frame, "curve") if name not in grey]
    styles = {
        name: Style(SERIES_HUES[i % len(SERIES_HUES)], MARKS[i % len(MARKS)], tuple(DASHES[i % len(DASHES)]), i)
        for i, name in enumerate(leading)
    } | {
        name: Style(PALE, MARKS[i % len(MARKS)], tuple(DASHES[i % len(DASHES)]), i)
        for i, name in enumerate(grey, start=len(leading))
    }  # fmt: skip
    columns = min(2 if width > 500 else 1, frame["cohort"].n_unique())
    x = epsilon_axis(frame["epsilon"].to_list(), panel=panel_width(width, columns, label_room(styles)))
    order = pl.DataFrame({"cohort": list(cohorts)})
    drawn = frame.sort(pl.col("curve").is_in(list(grey)), "epsilon", descending=[True, False], maintain_order=True)
    by_cohort = order.join(drawn, on="cohort", maintain_order="left_right")
    return panels(by_cohort, x, styles, by="cohort", width=width, columns=columns, height=190, series="curve")


@FIGURES.register
@figure("fig-arms", section="results", order=90)
def fig_arms(findings: Findings) -> Figure | None:
    """Success against ε of every arm and step size."""
    frame = findings.tables["success_by_arm"].filter(success=findings.plan.success)
    if frame.select("arm", "step_size").n_unique() < 2:
        return None
    return Figure(
        "Success by attack arm and step size",
        f"Attack success rate against ε {captions.when(findings)}; ε is logarithmic. Colour, mark and dash tell arms "
        f"apart.{_grey(frame)} "
        f"{captions.every_attack(findings, every_step_size=True)}. {captions.statistics(frame, findings)}. Arms may "
        "have attacked different numbers of images.",
        "Success against ε for the arms " + listed(findings.records.arms) + ", one panel per cohort.",
        lambda width: success_by_arm(frame, list(findings.cohorts), width=width), "success_by_arm", frame,
    )  # fmt: skip


def _grey(frame: pl.DataFrame) -> str:
    """What is said of arms that saturate."""
    flat = saturated(frame, "arm")
    return f" Grey: misclassifies nearly all already at its smallest ε (arm {listed(flat)})." if flat else ""


@FIGURES.register
@figure("fig-readings", section="results", order=100, supplement=True)
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
        lambda width: last_against_any(frame, list(findings.cohorts), width=width), "success_by_arm", frame,
    )  # fmt: skip
