"""The two pictures beside the answer: the curve where it moves, and one image with what the attack added to it.

They repeat figures 3a and 2 in small, for a reader who looks at the first screen alone; they have no number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import polars as pl

from advassay.report.data.findings import Findings
from advassay.report.figures.chart_axes import PERCENT
from advassay.report.figures.figure import Figure
from advassay.report.figures.image_figures import image_rows, pair_rows, picture_epsilon
from advassay.report.figures.image_panels import Row, plate
from advassay.report.figures.theme import INK, MUTED, styles
from advassay.report.text.number_format import percent

if TYPE_CHECKING:
    import altair as alt

CURVE, PAIR = "answer-curve", "answer-pair"
WHOLE = {CURVE: "fig-3a", PAIR: "fig-2"}
"""Key → the figure of the results that shows the whole."""
UNLABELLED = "decided otherwise"
"""In place of "misclassified" where no true class is known."""
STILL = 0.02
"""Rates below this, and above one less this, count as flat."""
WIDTH, HEIGHT = 430, 210
"""CSS pixels of the curve; on telephones it is as wide as the screen allows."""


def answer_figures(findings: Findings) -> Iterator[Figure]:
    """The curve and the image pair of a store that has an answer, as far as the records can fill them."""
    if findings.first_screen is None:
        return
    labelled = findings.first_screen.labelled
    if (curve := _curve(findings, labelled)) is not None:
        yield curve
    if (pair := _pair(findings, labelled)) is not None:
        yield pair


def moving_part(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows, by rising epsilon, from the last flat one at the low end to the first flat one at the high end.

    `frame`: epsilon, rate. All rows where nothing moves.

    >>> moving_part(pl.DataFrame({"epsilon": [1, 2, 3, 4, 5], "rate": [0.0, 0.0, 0.4, 1.0, 1.0]}))["epsilon"].to_list()
    [2, 3, 4]
    """
    ordered = frame.sort("epsilon")
    rates = [0.0 if rate is None else rate for rate in ordered["rate"]]
    moved = [place for place, rate in enumerate(rates) if STILL <= rate <= 1 - STILL]
    rise = [p for p in range(1, len(rates)) if rates[p - 1] < STILL and rates[p] > 1 - STILL]
    places = moved or [p for pair in rise for p in (pair - 1, pair)]
    if not places:
        return ordered
    first, last = max(0, min(places) - 1), min(len(rates) - 1, max(places) + 1)
    return ordered.slice(first, last - first + 1)


def _curve(findings: Findings, labelled: bool) -> Figure | None:
    header = findings.headers()[0]
    frame = findings.tables["success_by_epsilon"].filter(pl.col("epsilon") > 0, pl.col("n") > 0)
    if frame.height < 2:
        return None
    grey = header.attack.get("norm") == "linf"
    scale = 255 if grey else 1
    shown = moving_part(frame).with_columns(dose=pl.col("epsilon") * scale)
    unit = "grey levels of 255" if grey else "L2 length, images in [0, 1]"
    colour = styles(findings.cohorts)[header.cohort].colour
    half = _half(findings, scale)
    err, of = ("misclassified", "images classified correctly at first") if labelled else (UNLABELLED, "images")
    first, last = shown.row(0, named=True), shown.row(-1, named=True)
    return Figure(
        f"{err.capitalize()} images against the size of the change"
        if labelled
        else "Changed decisions against the size",
        f"Share of the {of} that are {err}, with {100 * findings.level:g} % intervals; log scale, the part where it "
        "moves.",
        f"Success rises from {percent(first['rate'], 0)} at {first['dose']:.3g} to {percent(last['rate'], 0)} at "
        f"{last['dose']:.3g} {unit}.",
        lambda width: _draw(
            shown, colour, f"Change of each pixel, {unit}" if grey else unit, half, min(width, WIDTH), err
        ),
        "success_by_epsilon",
        key=CURVE,
        level=findings.level,
    )


def _half(findings: Findings, scale: int) -> float | None:
    """ε50 in the units of the axis; None where it lies outside of the attacked amplitudes."""
    frame = findings.of_main_arm("epsilon50")
    row = frame.filter(pl.col("step_size") == findings.step_size(findings.main_arm)).row(0, named=True)
    return None if row["side"] != "inside" or row["estimate"] is None else row["estimate"] * scale


def _draw(frame: pl.DataFrame, colour: str, title: str, half: float | None, width: int, err: str) -> alt.TopLevelMixin:
    import altair as alt

    rows = frame.select("dose", "rate", "low", "high", "events", "n").to_dicts()
    x = alt.X("dose:Q", title=title, scale=alt.Scale(type="log", nice=False, padding=10),
              axis=alt.Axis(values=frame["dose"].to_list(), format=".2~r", labelOverlap="greedy"))  # fmt: skip
    y = alt.Scale(domain=[0, 1], nice=False)
    axis = alt.Axis(labelExpr=PERCENT, values=[0, 0.5, 1], title=err)
    base = alt.Chart(alt.Data(values=rows)).encode(x=x)
    told = [alt.Tooltip("dose:Q", title="change", format=".3~r"), alt.Tooltip("rate:Q", format=".1%"),
            alt.Tooltip("low:Q", title="interval from", format=".1%"), alt.Tooltip("high:Q", title="to", format=".1%"),
            alt.Tooltip("events:Q", title="images"), alt.Tooltip("n:Q", title="of")]  # fmt: skip
    layers = [
        base.mark_area(opacity=0.13, color=colour).encode(y=alt.Y("low:Q", scale=y, axis=axis), y2="high:Q"),
        base.mark_line(color=colour).encode(y=alt.Y("rate:Q", scale=y, axis=axis)),
        base.mark_point(filled=True, color=colour, size=40).encode(y=alt.Y("rate:Q", scale=y, axis=axis), tooltip=told),
    ]
    if half is not None:
        line = alt.Chart(alt.Data(values=[{"dose": half, "text": f"half: {half:.2g}"}])).encode(x=x)
        layers += [
            line.mark_rule(strokeDash=[4, 3], color=MUTED),
            line.mark_text(align="left", dx=5, dy=-4, baseline="bottom", fontSize=11, fontWeight="bold", color=INK,
                           stroke="white", strokeWidth=0).encode(y=alt.datum(0.02), text="text:N"),
        ]  # fmt: skip
    return alt.layer(*layers).properties(width=width - 66, height=HEIGHT)


def _pair(findings: Findings, labelled: bool) -> Figure | None:
    rows = image_rows(findings, pair_rows)
    if not rows:
        return None
    first = Row(rows[0].title, rows[0].cells[:1], rows[0].colour)
    epsilon = picture_epsilon(findings)
    grey = findings.headers()[0].attack.get("norm") == "linf"
    at = f"{epsilon * 255:.3g}/255" if grey else f"an L2 length of {epsilon:.3g}"
    return Figure(
        f"One image of those {'misclassified' if labelled else UNLABELLED} at {at}",
        f"Original, attacked at {at}, and what the attack added, magnified around mid-grey. Further images: figure 2.",
        "; ".join(picture.alt for picture in first.cells[0].pictures) + ".",
        lambda width: plate([first], stacked=False, columns=1),
        rows=(first,),
        layout="beside",
        key=PAIR,
    )
