"""Reliability under attack: accuracy against confidence, clean and attacked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from advassay.report.data.findings import Findings
from advassay.report.figures.chart_axes import coarse_share
from advassay.report.figures.curve_panels import faceted
from advassay.report.figures.figure import FIGURES, Figure, figure
from advassay.report.figures.theme import MUTED, Style, styles
from advassay.report.text import captions
from advassay.report.text.number_format import amplitude

if TYPE_CHECKING:
    import altair as alt


def reliability_diagram(frame: pl.DataFrame, styles: Mapping[str, Style], *, width: int) -> alt.FacetChart:
    """`frame`: cohort, epsilon (0 = clean and one other), confidence, accuracy, low, high, n, ece; a panel a cohort."""
    import altair as alt

    columns = min(4 if width > 500 else 2, frame["cohort"].n_unique())
    placed = _placed(frame, styles)
    x = alt.X("confidence:Q", **coarse_share("Mean confidence of a bin"))
    share = coarse_share("Classified correctly")
    hue = alt.Color("colour:N", scale=None, legend=None)
    base = alt.Chart().encode(x=x, color=hue)
    told = [
        alt.Tooltip("state:N"), alt.Tooltip("confidence:Q", title="mean confidence", format=".1%"),
        alt.Tooltip("accuracy:Q", format=".1%"), alt.Tooltip("low:Q", title="interval from", format=".1%"),
        alt.Tooltip("high:Q", title="to", format=".1%"), alt.Tooltip("n:Q", title="images"),
    ]  # fmt: skip
    shape = alt.Shape(
        "state:N", scale=alt.Scale(domain=["clean", "attacked"], range=["circle", "triangle-down"]),
        legend=alt.Legend(title=None, orient="top", symbolFillColor=MUTED, symbolStrokeColor=MUTED),
    )  # fmt: skip
    layers = [
        base.transform_filter("datum.first").mark_rule(color=MUTED, strokeDash=[3, 3]).encode(
            x=alt.datum(0), y=alt.datum(0), x2=alt.datum(1), y2=alt.datum(1), color=alt.value(MUTED)
        ),
        base.mark_rule(strokeWidth=1.3, opacity=0.6).encode(y=alt.Y("low:Q", **share), y2="high:Q"),
        base.mark_point(size=44).encode(y=alt.Y("accuracy:Q", **share), shape=shape, tooltip=told),
    ]  # fmt: skip
    return faceted(alt.layer(*layers), placed, "panel", width=width, columns=columns, height=170)


def _placed(frame: pl.DataFrame, styles: Mapping[str, Style]) -> pl.DataFrame:
    """One panel a cohort, its expected calibration errors in the title; attacked points in the cohort's hue."""
    clean = pl.col("epsilon") == 0
    ece = frame.group_by("cohort", maintain_order=True).agg(
        before=pl.col("ece").filter(clean).first(), after=pl.col("ece").filter(~clean).first()
    )
    titles = {row["cohort"]: _title(**row) for row in ece.iter_rows(named=True)}
    hues = {cohort: styles[cohort].colour for cohort in titles}
    return frame.with_columns(
        panel=pl.col("cohort").replace_strict(titles, return_dtype=pl.String),
        state=pl.when(clean).then(pl.lit("clean")).otherwise(pl.lit("attacked")),
        colour=pl.when(clean).then(pl.lit(MUTED)).otherwise(
            pl.col("cohort").replace_strict(hues, return_dtype=pl.String)
        ),
        first=pl.int_range(pl.len()).over("cohort") == 0,
    ).select("panel", "state", "confidence", "accuracy", "low", "high", "n", "colour", "first")  # fmt: skip


def _title(cohort: str, before: float | None, after: float | None) -> str:
    errors = ["–" if error is None else f"{error:.2f}" for error in (before, after)]
    return f"{cohort}: {' → '.join(errors)}"


@FIGURES.register
@figure("fig-reliability", section="results", order=220, supplement=True)
def fig_reliability(findings: Findings) -> Figure | None:
    """Accuracy against confidence, clean and attacked."""
    frame = findings.clean_and_attacked("reliability")
    if frame is None:
        return None
    images = frame.group_by("cohort", "epsilon", maintain_order=True).agg(pl.col("n").sum())["n"]
    errors = frame.unique(["cohort", "epsilon"], maintain_order=True)
    said = [f"{row['cohort']} at ε = {row['epsilon']:g}: {row['ece']:.2f}" for row in errors.iter_rows(named=True)]
    return Figure(
        f"Reliability, clean and at {amplitude(findings.epsilon)}",
        "Share of images classified correctly against the mean confidence (largest probability) of their bin, clean "
        f"and at {amplitude(findings.epsilon)}, last iteration. On the dashed diagonal the two agree. "
        f"{frame['bins'][0]} equal bins over [0, 1]; empty ones are left out. Above each panel: expected calibration "
        f"error "
        f"(Guo et al. 2017), clean → attacked. {captions.main_attack(findings)}. n = {captions.span(images)} "
        "images of a cohort, with those that are misclassified "
        f"without an attack; {captions.intervals(frame, findings.level)}.",
        f"Reliability diagrams; expected calibration error of {'; '.join(said)}.",
        lambda width: reliability_diagram(frame, styles(findings.cohorts), width=width), "reliability", frame,
    )  # fmt: skip
