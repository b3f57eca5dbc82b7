"""How each cohort's main network learned: loss above, accuracy below, over optimiser updates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from advassay.report.data.findings import Findings
from advassay.report.figures.chart_axes import PERCENT
from advassay.report.figures.curve_panels import colours, faceted
from advassay.report.figures.figure import FIGURES, Figure, figure
from advassay.report.figures.theme import INK, Style, styles
from advassay.report.text.number_format import listed

if TYPE_CHECKING:
    import altair as alt


LOSSES = {"training_loss": "training loss", "tuning_loss": "tuning loss"}
ACCURACIES = {"tuning_accuracy": "tuning accuracy"}
NAMES = LOSSES | ACCURACIES


def training_curves(frame: pl.DataFrame, styles: Mapping[str, Style], *, width: int) -> alt.TopLevelMixin:
    """`frame`: cohort, update, training_loss, tuning_loss, tuning_accuracy; one network a cohort, one panel each.

    Without a tuning part there is no accuracy and no lower row.
    """
    import altair as alt

    columns = min(4 if width > 500 else 2, frame["cohort"].n_unique())
    rows = [
        _row(part, styles, title, width=width, columns=columns)
        for part, title in ((_long(frame, LOSSES), "Loss"), (_long(frame, ACCURACIES), "Accuracy"))
        if len(part)
    ]
    return rows[0] if len(rows) == 1 else alt.vconcat(*rows, spacing=22)


def _long(frame: pl.DataFrame, names: Mapping[str, str]) -> pl.DataFrame:
    long = frame.select("cohort", "update", *names).unpivot(
        index=["cohort", "update"], variable_name="column", value_name="value"
    )
    return long.drop_nulls("value").with_columns(quantity=pl.col("column").replace_strict(NAMES)).drop("column")


def _row(frame: pl.DataFrame, styles: Mapping[str, Style], title: str, *, width: int, columns: int) -> alt.FacetChart:
    import altair as alt

    loss = title == "Loss"
    top = max(float(frame["value"].max()), 1.0) if loss else 1.0  # type: ignore[arg-type]
    scale = alt.Scale(domain=[0, top], nice=loss)
    axis = alt.Axis(tickCount=4) if loss else alt.Axis(values=[0, 0.5, 1], labelExpr=PERCENT)
    line = (
        alt.Chart()
        .mark_line(point=alt.OverlayMarkDef(size=20))
        .encode(
            x=alt.X("update:Q", title="Optimiser updates", axis=alt.Axis(tickCount=3, tickMinStep=1)),
            y=alt.Y("value:Q", title=title, scale=scale, axis=axis),
            strokeDash=_dash(columns),
            color=colours(frame, styles),
            tooltip=["cohort:N", "quantity:N", "update:Q", alt.Tooltip("value:Q", format=".3f")],
        )
    )
    return faceted(line, frame, "cohort", width=width, columns=columns, height=130)


def _dash(columns: int) -> alt.StrokeDash:
    import altair as alt

    legend = alt.Legend(
        title=None, symbolType="stroke", symbolSize=300, symbolStrokeColor=INK, orient="top",
        columns=3 if columns > 2 else 1,
    )  # fmt: skip
    scale = alt.Scale(domain=list(NAMES.values()), range=[[1, 0], [7, 3], [2, 2]])
    return alt.StrokeDash("quantity:N", scale=scale, legend=legend)


@FIGURES.register
@figure("fig-training", section="evidence", order=70, supplement=True)
def fig_training(findings: Findings) -> Figure | None:
    """Loss and accuracy during training."""
    if "training" not in findings.tables:
        return None
    mains = {header.classifier for header in findings.headers()}
    order = pl.DataFrame({"cohort": list(findings.cohorts)})
    frame = findings.tables["training"].filter(pl.col("classifier").is_in(mains))
    frame = order.join(frame, on="cohort", maintain_order="left_right").filter(pl.col("classifier").is_not_null())
    if not len(frame):
        return None
    return Figure(
        "Training curves",
        "Training loss, tuning loss and tuning accuracy of each cohort's main network at every evaluation. "
        + _tuned_on(findings),
        "Training curves of " + listed(list(findings.cohorts)) + ".",
        lambda width: training_curves(frame, styles(findings.cohorts), width=width), "training", frame,
    )  # fmt: skip


def _tuned_on(findings: Findings) -> str:
    """On which images the tuning curves were taken, by cohort."""
    documents = [findings.records.training(header.classifier) for header in findings.headers()]
    known = [document for document in documents if document is not None]
    without = [d.cohort for d in known if not any("tuning_loss" in entry for entry in d.history)]
    validated = [d.cohort for d in known if d.cohort not in without and d.spec.get("select_on") == "validation"]
    tuned = [d.cohort for d in known if d.cohort not in without + validated]
    said = []
    if tuned:
        of = "" if len(tuned) == len(known) else f" of {listed(tuned)}"
        said.append(f"The tuning images{of} are neither trained on nor attacked.")
    if validated:
        said.append(f"Tuning curves of {listed(validated)} are on the validation images, which chose the checkpoint.")
    if without:
        said.append(f"{listed(without)} had no tuning part.")
    return " ".join(said)
