"""Figure 3a, success against ε after the last iteration; robust accuracy, and success at equal visibility."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl

from advassay.report.data.findings import Findings
from advassay.report.figures.chart_axes import GREY_LEVELS, Horizontal, epsilon_axis, label_room, panel_width
from advassay.report.figures.curve_panels import panels
from advassay.report.figures.figure import FIGURES, Figure, figure
from advassay.report.figures.theme import Style, styles
from advassay.report.text import captions
from advassay.report.text.number_format import listed, percent

if TYPE_CHECKING:
    import altair as alt


def success_by_epsilon(frame: pl.DataFrame, styles: Mapping[str, Style], *, width: int) -> alt.FacetChart:
    """`frame`: cohort, image_type, epsilon, rate, low, high, n, events. `width` in CSS pixels."""
    kinds = frame["image_type"].n_unique()
    columns = kinds if width > 500 else 1
    return panels(
        frame.sort("epsilon", maintain_order=True),
        epsilon_axis(
            frame["epsilon"].to_list(), panel=panel_width(width, columns, label_room(frame["cohort"].unique()))
        ),
        styles,
        by="image_type",
        width=width,
        columns=columns,
        height=300 if width > 500 else 240,
    )


@FIGURES.register
@figure("fig-3a", section="results", order=30, number="3a")
def fig3a(findings: Findings) -> Figure:
    """Success against ε in the main arm."""
    frame = findings.tables["success_by_epsilon"]
    unreachable = captions.describe_unreachable(findings, [findings.main_arm])
    return Figure(
        "Success against amplitude",
        f"Attack success rate against ε {captions.when(findings)}. {captions.main_attack(findings)}. "
        f"{captions.reading(findings.plan.success)} {captions.statistics(frame, findings)}."
        f"{captions.margin(findings, 1)}{_coinciding(frame)}" + "".join(f" {text}" for text in unreachable),
        captions.describe_endpoints(frame, "epsilon", "ε"),
        lambda width: success_by_epsilon(frame, styles(findings.cohorts), width=width),
        "success_by_epsilon",
        frame,
    )


def _coinciding(frame: pl.DataFrame) -> str:
    """A warning where curves of one panel coincide, as at 100 %."""
    points = frame.filter(pl.col("n") > 0).group_by("image_type", "epsilon", "rate").len()
    shared = points.filter(pl.col("len") > 1)["rate"].unique().sort().to_list()
    return f" Curves coincide at {listed([percent(r, 0) for r in shared])}." if shared else ""


def accuracy_by_epsilon(frame: pl.DataFrame, styles: Mapping[str, Style], *, width: int) -> alt.FacetChart:
    """`frame`: cohort, image_type, epsilon (0 = clean), accuracy, low, high, n; a panel per image type.

    The clean images stand left of the smallest amplitude, where a logarithmic axis has no 0.
    """
    rated = frame.with_columns(
        rate=pl.col("accuracy"), events=(pl.col("accuracy") * pl.col("n")).round().cast(pl.Int64)
    )
    wide, kinds = width > 500, frame["image_type"].n_unique()
    columns = kinds if wide else 1
    axis, clean = _with_clean(
        frame["epsilon"].to_list(), panel_width(width, columns, label_room(frame["cohort"].unique()))
    )
    return panels(
        rated.with_columns(shown=pl.when(pl.col("epsilon") == 0).then(pl.lit(clean)).otherwise(pl.col("epsilon"))).sort(
            "shown", maintain_order=True
        ),
        axis,
        styles,
        by="image_type",
        width=width,
        columns=columns,
        height=260 if wide else 220,
        title="Robust accuracy",
    )


def _with_clean(epsilons: Sequence[float], panel: int) -> tuple[Horizontal, float]:
    """The axis of ε with a place for the clean images on it, and that place."""
    grid = sorted({epsilon for epsilon in epsilons if epsilon > 0})
    if len(grid) < 2:
        return replace(epsilon_axis(epsilons, "ε, 0 = clean (below it, in grey levels of 255)"), column="shown"), 0.0
    place = grid[0] ** 2 / grid[1]
    axis = epsilon_axis([place, *grid], "ε (below it, in grey levels of 255)", panel=panel)
    if not axis.log:
        return replace(axis, column="shown", values=None, title="ε, 0 = clean (below it, in grey levels of 255)"), 0.0
    label = f"datum.value < {(place + grid[0]) / 2} ? 'clean' : {GREY_LEVELS}"
    return replace(axis, column="shown", label=label), place


@FIGURES.register
@figure("fig-accuracy", section="results", order=200)
def fig_accuracy(findings: Findings) -> Figure:
    """Robust accuracy against ε in the main arm."""
    frame = findings.tables["performance"]
    at = [f"{c} from {_share_at(frame, c, 0)} clean to {_share_at(frame, c, -1)}" for c in findings.cohorts]
    return Figure(
        "Robust accuracy",
        "Share of all attacked images that are classified correctly at the last iterate. Images that are misclassified "
        f"without an attack count, too. “Clean” is the accuracy on the same images without an attack. "
        f"{captions.main_attack(findings)}. {captions.statistics(frame, findings)}.",
        f"Robust accuracy against ε: {listed(at)}.",
        lambda width: accuracy_by_epsilon(frame, styles(findings.cohorts), width=width),
        "performance",
        frame,
    )


def _share_at(frame: pl.DataFrame, cohort: str, place: int) -> str:
    return percent(frame.filter(cohort=cohort).sort("epsilon")["accuracy"][place], 0)


FEWEST = 5
"""Image × ε of a bin, below which its rate is not drawn."""
VISIBILITY = Horizontal("visibility", "ε over clean contrast", log=True, tooltip="ε over clean contrast")


@FIGURES.register
@figure("fig-visibility", section="results", order=130, supplement=True)
def fig_visibility(findings: Findings) -> Figure | None:
    """Success against ε divided by the image's contrast, by arm."""
    if "success_by_visibility" not in findings.tables:
        return None
    frame = findings.tables["success_by_visibility"].filter(pl.col("n") >= FEWEST)
    if frame.is_empty():
        return None
    by_arm = frame.partition_by("arm", maintain_order=True, as_dict=True)
    known = frame["patients"].drop_nulls()
    patients = f" of {captions.span(known)} patients" if len(known) else ""
    patients += " where patients are known" if 0 < len(known) < len(frame) else ""
    attacks = ". ".join(captions.attack(findings.headers(str(arm)), findings.step_size(str(arm))) for (arm,) in by_arm)
    return Figure(
        "Success at equal visibility",
        "Attack success rate against ε divided by the image’s clean contrast (standard deviation of its pixels). It "
        "compares image types at equal visibility in place of equal ε. All cohorts of an arm have the same bins. An "
        f"image counts once for each of its ε that falls into a bin (n = {captions.span(frame['n'])} image × "
        f"ε{patients} at each point); bins with fewer than {FEWEST} are in the table alone. Arms whose ε does not "
        f"bound each pixel are left out. {attacks}. {captions.JUDGED[findings.plan.success]}; "
        f"{captions.intervals(frame, findings.level)}.",
        "Success against ε over contrast, one panel per arm. "
        + " ".join(captions.describe_endpoints(part, "visibility", "ε over contrast", f"Arm {arm}")
                   for (arm,), part in by_arm.items()),
        lambda width: success_by_visibility(frame, styles(findings.cohorts), width=width),
        "success_by_visibility", frame,
    )  # fmt: skip


def success_by_visibility(frame: pl.DataFrame, styles: Mapping[str, Style], *, width: int) -> alt.FacetChart:
    """`frame`: cohort, arm, visibility (middle of the bin), rate, low, high, n, events; a panel an arm."""
    titled = frame.with_columns(panel=pl.format("Arm {}", "arm"))
    columns = min(2 if width > 500 else 1, titled["panel"].n_unique())
    return panels(titled, VISIBILITY, styles, by="panel", width=width, columns=columns)
