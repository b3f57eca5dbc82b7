"""Figure 3a, success against ε after the last iteration; robust accuracy, and success at equal visibility."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from advassay.report.data.findings import Findings
from advassay.report.figures import captions
from advassay.report.figures.chart_axes import Horizontal, epsilon_axis
from advassay.report.figures.curve_panels import panels
from advassay.report.figures.figure import Figure
from advassay.report.figures.theme import Style, styles
from advassay.report.text import caption_phrases
from advassay.report.text.number_format import listed, percent

if TYPE_CHECKING:
    import altair as alt


def success_by_epsilon(frame: pl.DataFrame, styles: Mapping[str, Style], *, width: int) -> alt.FacetChart:
    """`frame`: cohort, image_type, epsilon, rate, low, high, n, events. `width` in CSS pixels."""
    kinds = frame["image_type"].n_unique()
    columns = kinds if width > 500 else 1
    return panels(
        frame.sort("epsilon", maintain_order=True),
        epsilon_axis(frame["epsilon"].to_list()),
        styles,
        by="image_type",
        width=width,
        columns=columns,
        height=300 if width > 500 else 240,
    )


def fig3a(findings: Findings) -> Figure:
    frame = findings.tables["success_by_epsilon"]
    return Figure(
        "fig-3a", "3a", "Success against amplitude",
        f"Attack success rate against ε {captions.when(findings)}. {captions.main_arm(findings)}. "
        f"{caption_phrases.reading(findings.plan.success)} {captions.statistics(frame, findings)}."
        f"{captions.margin(findings, 1)}{_coinciding(frame)}"
        + "".join(f" {text}" for text in captions.describe_unreachable(findings, [findings.main_arm])),
        captions.describe_endpoints(frame, "epsilon", "ε"),
        lambda width: success_by_epsilon(frame, styles(findings.cohorts), width=width), "success_by_epsilon", frame,
    )  # fmt: skip


def _coinciding(frame: pl.DataFrame) -> str:
    """A warning where curves of one panel lie on one another, as at 100 %."""
    points = frame.filter(pl.col("n") > 0).group_by("image_type", "epsilon", "rate").len()
    shared = points.filter(pl.col("len") > 1)["rate"].unique().sort().to_list()
    return f" Curves lie on one another at {listed([percent(r, 0) for r in shared])}." if shared else ""


def accuracy_by_epsilon(frame: pl.DataFrame, styles: Mapping[str, Style], *, width: int) -> alt.FacetChart:
    """`frame`: cohort, image_type, epsilon (0 = clean), accuracy, low, high, n; a panel per image type."""
    rated = frame.with_columns(
        rate=pl.col("accuracy"), events=(pl.col("accuracy") * pl.col("n")).round().cast(pl.Int64)
    )
    wide = width > 500
    return panels(
        rated,
        epsilon_axis(frame["epsilon"].to_list(), "ε, 0 = clean (below it, in grey levels of 255)"),
        styles,
        by="image_type",
        width=width,
        columns=frame["image_type"].n_unique() if wide else 1,
        height=260 if wide else 220,
        title="Robust accuracy",
    )


def fig_accuracy(findings: Findings) -> Figure:
    frame = findings.tables["performance"]
    at = [f"{c} from {_share_at(frame, c, 0)} clean to {_share_at(frame, c, -1)}" for c in findings.cohorts]
    return Figure(
        "fig-accuracy", "", "Robust accuracy",
        "Share of all attacked images, natively misclassified ones included, that are classified correctly at the last "
        f"iterate; ε = 0 is the clean accuracy on the attacked images. {captions.main_arm(findings)}. "
        f"{captions.statistics(frame, findings)}.",
        f"Robust accuracy against ε: {listed(at)}.",
        lambda width: accuracy_by_epsilon(frame, styles(findings.cohorts), width=width), "performance", frame,
    )  # fmt: skip


def _share_at(frame: pl.DataFrame, cohort: str, place: int) -> str:
    return percent(frame.filter(cohort=cohort).sort("epsilon")["accuracy"][place], 0)


FEWEST = 5
"""Image × ε of a bin, below which its rate is not drawn."""
VISIBILITY = Horizontal("visibility", "ε over clean contrast", log=True, tooltip="ε over clean contrast")


def fig_visibility(findings: Findings) -> Figure | None:
    if "success_by_visibility" not in findings.tables:
        return None
    frame = findings.tables["success_by_visibility"].filter(pl.col("n") >= FEWEST)
    if frame.is_empty():
        return None
    by_arm = frame.partition_by("arm", maintain_order=True, as_dict=True)
    known = frame["patients"].drop_nulls()
    patients = f" of {caption_phrases.span(known)} patients" if len(known) else ""
    patients += " where patients are known" if 0 < len(known) < len(frame) else ""
    attacks = ". ".join(
        caption_phrases.attack(findings.headers(str(arm)), findings.step_size(str(arm))) for (arm,) in by_arm
    )
    return Figure(
        "fig-visibility", "", "Success at equal visibility",
        "Attack success rate against ε, the bound of the perturbation, over the image’s clean contrast (standard "
        "deviation of its pixels): image types compared at equal visibility in place of equal ε. All cohorts of an arm "
        "have the same bins; an image counts once for each of its ε that falls into a bin "
        f"(n = {caption_phrases.span(frame['n'])} image × ε{patients} at each point), "
        f"and bins with fewer than {FEWEST} are in the table alone. Arms whose ε does not bound each pixel are left "
        "out. "
        f"{attacks}. {caption_phrases.JUDGED[findings.plan.success]}; "
        f"{caption_phrases.intervals(frame, findings.level)}.",
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
