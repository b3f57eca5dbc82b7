"""Class-transition matrices: as which class images of each class are predicted, clean beside attacked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from advassay.report.data.findings import Findings
from advassay.report.figures.curve_panels import names_of
from advassay.report.figures.figure import FIGURES, Figure, figure
from advassay.report.figures.theme import INK, Style, styles
from advassay.report.text import captions
from advassay.report.text.number_format import amplitude

if TYPE_CHECKING:
    import altair as alt


CELL = 40
LEVEL_LABELS = 70
"""Width of a cell in CSS pixels from which class names stand level below it."""
LABEL_LIMIT = 96
MOST_WRITTEN = 999
"""Images of a cell; where one has more, the cohort's cells are written in percent of the class."""


def transition_matrices(frame: pl.DataFrame, styles: Mapping[str, Style], *, width: int) -> alt.ConcatChart:
    """`frame`: cohort, epsilon (0 = clean and one other), label, predicted, n, share; two matrices a cohort."""
    import altair as alt

    columns = 2 if width > 500 else 1
    charts = [
        _cohort(part, styles[name].colour, name, (width - 60) // columns - LABEL_LIMIT)
        for (name,), part in frame.group_by("cohort", maintain_order=True)
    ]
    return alt.concat(*charts, columns=columns, spacing={"row": 30, "column": 36}).resolve_scale(color="independent")


def _cohort(frame: pl.DataFrame, hue: str, cohort: str, room: int) -> alt.FacetChart:
    import altair as alt

    labels, predicted = names_of(frame, "label"), names_of(frame, "predicted")
    told = _told(frame)
    side = min(CELL * 2.2, max(26, (room - 20) // (2 * len(predicted))))
    x = alt.X("predicted:N", sort=predicted, title=None, axis=_axis(angle=0 if side >= LEVEL_LABELS else -35))
    y = alt.Y("label:N", sort=labels, title=None, axis=_axis())
    base = alt.Chart().encode(x=x, y=y, tooltip=["label:N", "predicted:N", "n:Q", alt.Tooltip("share:Q", format=".1%")])
    scale = alt.Scale(domain=[0, 1], range=["#ffffff", hue], interpolate="rgb")
    squares = base.mark_rect(stroke="#ffffff").encode(color=alt.Color("share:Q", scale=scale, legend=None))
    right = base.transform_filter("datum.label == datum.predicted").mark_rect(
        fillOpacity=0, stroke=INK, strokeWidth=1.5
    )
    numbers = base.mark_text(fontSize=14).encode(
        text="text:N", color=alt.condition("datum.share > 0.8", alt.value("#ffffff"), alt.value(INK))
    )
    chart = alt.layer(squares, right, numbers).properties(width=side * len(predicted), height=CELL * len(labels))
    return chart.facet(
        column=alt.Column("state:N", sort=names_of(told, "state"), title=None),
        data=alt.Data(values=told.to_dicts()),
        spacing=14,
        title=alt.TitleParams(cohort, color=hue, anchor="start"),
    )


def _axis(angle: int = 0) -> alt.Axis:
    import altair as alt

    return alt.Axis(grid=False, ticks=False, domain=False, labelLimit=LABEL_LIMIT, labelAngle=angle, labelFontSize=12.5)


def _told(frame: pl.DataFrame) -> pl.DataFrame:
    state = (
        pl.when(pl.col("epsilon") == 0)
        .then(pl.lit("clean, predicted as"))
        .otherwise(pl.format("ε = {}, predicted as", "epsilon"))
    )
    share = pl.col("share").fill_null(0.0).round(4)
    percent = pl.format("{} %", (100 * share).round(0).cast(pl.Int64))
    text = percent if in_percent(frame) else pl.col("n").cast(pl.String)
    return frame.select("cohort", "label", "predicted", "n", share, state=state, text=text)


def in_percent(frame: pl.DataFrame) -> bool:
    """Whether cells are written as shares, because a count would not fit."""
    return bool((frame["n"] > MOST_WRITTEN).any())


@FIGURES.register
@figure("fig-transitions", section="results", order=240)
def fig_transitions(findings: Findings) -> Figure | None:
    """Class and predicted class, clean and attacked."""
    frame = findings.clean_and_attacked("transitions")
    if frame is None:
        return None
    of_class = frame.group_by("cohort", "epsilon", "label", maintain_order=True).agg(pl.col("n").sum())["n"]
    return Figure(
        f"Class transitions, clean and at {amplitude(findings.epsilon)}",
        "Predicted class (columns) of the images of each class (rows), clean and at "
        f"{amplitude(findings.epsilon)}, last iteration. Numbers are images, or percent of the class where a cell "
        f"holds "
        f"more than {MOST_WRITTEN}. Colour is the share of the class; framed cells are classified correctly. "
        f"{captions.main_attack(findings)}. n = {captions.span(of_class)} images of a class, with those that are "
        "misclassified without an attack; counts, no intervals.",
        f"Confusion matrices, clean and attacked: {'; '.join(_commonest(frame, c) for c in findings.cohorts)}.",
        lambda width: transition_matrices(frame, styles(findings.cohorts), width=width), "transitions", frame,
    )  # fmt: skip


def _commonest(frame: pl.DataFrame, cohort: str) -> str:
    """The largest cell off the diagonal under attack, in words."""
    moved = frame.filter(
        (pl.col("cohort") == cohort) & (pl.col("epsilon") > 0) & (pl.col("label") != pl.col("predicted"))
    )
    row = moved.sort("n", descending=True).row(0, named=True)
    return f"{cohort} most often {row['label']} → {row['predicted']} ({row['n']})"
