"""Where images of a clean confidence end after the attack, misclassified ones apart from correct ones."""

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


def confidence_flow_plot(frame: pl.DataFrame, styles: Mapping[str, Style], *, width: int) -> alt.FacetChart:
    """`frame` at one ε: cohort, clean_low, clean_high, adversarial_low, adversarial_high, fallen, n; a panel a cohort.

    The area of a mark is the number of images.
    """
    import altair as alt

    columns = min(4 if width > 500 else 2, frame["cohort"].n_unique())
    placed = _placed(frame, styles)
    lowest = float(min(frame["clean_low"].min(), frame["adversarial_low"].min()))  # type: ignore[arg-type,type-var]
    largest = int(placed["n"].max())  # type: ignore[arg-type]
    legend = alt.Legend(title=None, orient="top", symbolFillColor=MUTED, symbolStrokeColor=MUTED, symbolType="circle")
    sizes = alt.Legend(title="images", orient="top", values=_round_sizes(largest), format="d", symbolStrokeColor=MUTED)
    states = alt.Scale(domain=["misclassified", "still correct"], range=["circle", "cross"])
    marks = alt.Chart().mark_point(filled=True, opacity=0.85).encode(
        x=alt.X("clean:Q", **coarse_share("Clean confidence", lowest)),
        y=alt.Y("adversarial:Q", **coarse_share("Confidence under attack", lowest)),
        size=alt.Size("n:Q", scale=alt.Scale(domain=[0, largest], range=[0, 260]), legend=sizes),
        shape=alt.Shape("state:N", scale=states, legend=legend),
        color=alt.Color("colour:N", scale=None),
        tooltip=["state:N", "from:N", "to:N", alt.Tooltip("n:Q", title="images")],
    )  # fmt: skip
    return faceted(marks, placed, "cohort", width=width, columns=columns, height=170)


def _round_sizes(largest: int) -> list[int]:
    """Two numbers of images for the legend: the largest power of ten (1, 2 or 5 times) that occurs, and a fifth of it.

    >>> _round_sizes(7803), _round_sizes(11), _round_sizes(3)
    ([1000, 5000], [2, 10], [2])
    """
    steps = [m * 10**p for p in range(9) for m in (1, 2, 5) if m * 10**p <= largest]
    return sorted({steps[-1] // 5 or steps[-1], steps[-1]})


def _placed(frame: pl.DataFrame, styles: Mapping[str, Style]) -> pl.DataFrame:
    hue = pl.col("cohort").replace_strict({c: styles[c].colour for c in styles}, return_dtype=pl.String)
    span = "{}–{} %"
    percent = [
        (100 * pl.col(c)).round(0).cast(pl.Int64).alias(c) for c in frame.columns if c.endswith(("_low", "_high"))
    ]
    told = frame.with_columns(percent).select(
        pl.format(span, "clean_low", "clean_high").alias("from"),
        pl.format(span, "adversarial_low", "adversarial_high").alias("to"),
    )
    return frame.select(
        "cohort", "n",
        clean=(pl.col("clean_low") + pl.col("clean_high")) / 2,
        adversarial=(pl.col("adversarial_low") + pl.col("adversarial_high")) / 2,
        state=pl.when("fallen").then(pl.lit("misclassified")).otherwise(pl.lit("still correct")),
        colour=pl.when("fallen").then(hue).otherwise(pl.lit(MUTED)),
    ).hstack(told)  # fmt: skip


@FIGURES.register
@figure("fig-confidence-flow", section="results", order=230, supplement=True)
def fig_confidence_flow(findings: Findings) -> Figure | None:
    """Confidence before and after the attack."""
    table = findings.tables.get("confidence_flow")
    frame = None if table is None else table.filter(epsilon=findings.epsilon)
    if frame is None or not len(frame):
        return None
    totals = frame.group_by("cohort", maintain_order=True).agg(
        n=pl.col("n").sum(), high=pl.col("n").filter(pl.col("fallen") & (pl.col("adversarial_low") >= 0.9 - 1e-9)).sum()
    )
    said = [f"{r['cohort']} {r['high']} of {r['n']}" for r in totals.iter_rows(named=True)]
    return Figure(
        f"Confidence before and after the attack at {amplitude(findings.epsilon)}",
        "Attackable images by confidence (largest probability) before and after the attack, in tenths; the area of a "
        "mark is the number of images. Circles are misclassified, crosses are still correct. Misclassified with a "
        f"confidence of at least 90 % in the wrong class: {'; '.join(said)}. {captions.main_attack(findings)}. "
        f"n = {captions.span(totals['n'])} images of a cohort; counts, no intervals.",
        f"Clean against adversarial confidence. Misclassified with at least 90 % confidence: {'; '.join(said)}.",
        lambda width: confidence_flow_plot(frame, styles(findings.cohorts), width=width), "confidence_flow", frame,
    )  # fmt: skip
