"""Success at equal visibility: ε relative to the contrast of the image it is added to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from advassay.report import captions
from advassay.report.figures import told
from advassay.report.figures.axes import Horizontal
from advassay.report.figures.figure import Figure
from advassay.report.figures.panels import panels
from advassay.report.findings import Findings
from advassay.report.theme import Style, styles

if TYPE_CHECKING:
    import altair as alt

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
    patients = f" of {captions.span(known)} patients" if len(known) else ""
    patients += " where patients are known" if 0 < len(known) < len(frame) else ""
    attacks = ". ".join(captions.attack(findings.headers(str(arm)), findings.step_size(str(arm))) for (arm,) in by_arm)
    return Figure(
        "fig-visibility", "", "Success at equal visibility",
        "Attack success rate against ε, the bound of the perturbation, over the image’s clean contrast (standard "
        "deviation of its pixels): image types compared at equal visibility in place of equal ε. All cohorts of an arm "
        "have the same bins; an image counts once for each of its ε that falls into a bin "
        f"(n = {captions.span(frame['n'])} image × ε{patients} at each point), "
        f"and bins with fewer than {FEWEST} are in the table alone. Arms whose ε does not bound each pixel are left "
        "out. "
        f"{attacks}. {captions.JUDGED[findings.plan.success]}; {captions.intervals(frame, findings.level)}.",
        "Success against ε over contrast, one panel per arm. "
        + " ".join(told.ends(part, "visibility", "ε over contrast", f"Arm {arm}") for (arm,), part in by_arm.items()),
        lambda width: success_by_visibility(frame, styles(findings.cohorts), width=width),
        "success_by_visibility", frame,
    )  # fmt: skip


def success_by_visibility(frame: pl.DataFrame, styles: Mapping[str, Style], *, width: int) -> alt.FacetChart:
    """`frame`: cohort, arm, visibility (middle of the bin), rate, low, high, n, events; a panel an arm."""
    titled = frame.with_columns(panel=pl.format("Arm {}", "arm"))
    columns = min(2 if width > 500 else 1, titled["panel"].n_unique())
    return panels(titled, VISIBILITY, styles, by="panel", width=width, columns=columns)
