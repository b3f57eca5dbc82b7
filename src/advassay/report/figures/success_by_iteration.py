"""Figure 3b, attack success rate against iterations, and iterations to success as survival curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from advassay.report.data.findings import Findings
from advassay.report.figures.chart_axes import Horizontal
from advassay.report.figures.curve_panels import panels
from advassay.report.figures.figure import FIGURES, Figure, figure
from advassay.report.figures.theme import Style, styles
from advassay.report.text import captions
from advassay.report.text.number_format import amplitude, grey_levels, listed

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


@FIGURES.register
@figure("fig-3b", section="results", order=40, number="3b")
def fig3b(findings: Findings) -> Figure:
    """Success against iterations at one ε in the main arm."""
    frame = findings.of_main_arm("success_by_iteration").filter(epsilon=findings.epsilon)
    return Figure(
        f"Success against iterations at {amplitude(findings.epsilon)}",
        f"Attack success rate after 1 to {max(frame['step'].to_list())} iterations at {amplitude(findings.epsilon)}, "
        f"{captions.OVER_ITERATIONS[findings.plan.success]}. {captions.main_attack(findings)}. "
        f"{captions.statistics(frame, findings)}.{captions.margin(findings, 3)}",
        captions.describe_endpoints(frame, "step", "iteration"),
        lambda width: success_by_iteration(frame, styles(findings.cohorts), width=width), "success_by_iteration", frame,
    )  # fmt: skip


@FIGURES.register
@figure("fig-3b-all", section="results", order=50, number="3b, other ε", supplement=True)
def fig3b_rest(findings: Findings) -> Figure | None:
    """Success against iterations at the other ε."""
    frame = findings.of_main_arm("success_by_iteration").filter(pl.col("epsilon") != findings.epsilon)
    if not len(frame):
        return None
    grid = sorted(set(frame["epsilon"].to_list()))
    return Figure(
        "Success against iterations at the other amplitudes",
        f"Like figure 3b, with one panel for each ε: {listed([f'{e:g}' for e in grid])}. "
        f"{captions.main_attack(findings)}. {captions.statistics(frame, findings)}.",
        f"Small multiples of figure 3b at ε from {grid[0]:g} to {grid[-1]:g}.",
        lambda width: success_by_iteration_at_every_epsilon(frame, styles(findings.cohorts), width=width),
        "success_by_iteration", frame,
    )  # fmt: skip


SURVIVAL_ITERATIONS = Horizontal("step", "Iterations", tooltip="iterations", smallest_tick=1)


def iteration_survival_curves(frame: pl.DataFrame, styles: Mapping[str, Style], *, width: int) -> alt.FacetChart:
    """`frame`: cohort, arm, epsilon, step, surviving, low, high, n, events (misclassified so far); a panel an arm."""
    named = frame.with_columns(
        rate="surviving", events=pl.col("n") - pl.col("events"),
        at=pl.col("epsilon").map_elements(amplitude, return_dtype=pl.String),
    )  # fmt: skip
    titled = named.with_columns(panel=pl.format("Arm {}, {}", "arm", "at"))
    columns = min(2 if width > 500 else 1, titled["panel"].n_unique())
    return panels(
        titled, SURVIVAL_ITERATIONS, styles, by="panel", width=width, columns=columns, height=210,
        title="Not yet misclassified", steps=True, mark=12,
    )  # fmt: skip


@FIGURES.register
@figure("fig-survival", section="results", order=190, supplement=True)
def fig_survival(findings: Findings) -> Figure | None:
    """Share of images that no iterate so far has misclassified, by arm."""
    frame = findings.tables.get("iteration_survival")
    if frame is None:
        return None
    medians = frame.unique(["arm", "cohort"], maintain_order=True).filter(pl.col("n") > 0)
    halves = [f"arm {arm}: {_medians(part)}" for (arm,), part in medians.group_by("arm", maintain_order=True)]
    return Figure(
        "Iterations to success",
        "Share of attackable images that no iterate so far has misclassified (Kaplan–Meier; every image is followed to "
        f"the last iterate). Iteration by which half of them are misclassified: {'; '.join(halves)}. "
        f"{captions.every_attack(findings)}. {captions.statistics(frame, findings)}.",
        f"Step curves that fall, one panel per arm. Iteration by which half are misclassified: {'; '.join(halves)}.",
        lambda width: iteration_survival_curves(frame, styles(findings.cohorts), width=width),
        "iteration_survival", frame,
    )  # fmt: skip


def _medians(part: pl.DataFrame) -> str:
    """Medians by cohort; once where all agree."""
    if len(part) > 1 and part["median"].n_unique() == 1:
        return f"{part['median'][0]} in every cohort"
    return ", ".join(f"{cohort} {median}" for cohort, median in part.select("cohort", "median").iter_rows())
