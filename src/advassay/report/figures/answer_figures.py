"""The two pictures beside the answer: the curve where it moves, and one image with what the attack added to it.

They repeat figures 3a and 2 in small, for a reader who looks at the first screen alone; they have no number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import polars as pl

from advassay.report.data.findings import Findings
from advassay.report.data.units import in_grey_levels, level_text, scale
from advassay.report.figures.chart_axes import PERCENT, apart
from advassay.report.figures.figure import Figure
from advassay.report.figures.image_figures import image_rows, pair_rows, picture_epsilon
from advassay.report.figures.image_panels import Row, plate
from advassay.report.figures.theme import INK, MUTED, Style, styles
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
TICK_ROOM = 34
"""CSS pixels that a label of the axis takes."""


def answer_figures(findings: Findings) -> Iterator[Figure]:
    """The curve and the image pair of a store that has an answer, as far as the records can fill them."""
    if findings.first_screen is None:
        return
    labelled = findings.first_screen.labelled
    if (curve := _curve(findings, labelled)) is not None:
        yield curve
    if (pair := image_pair(findings, labelled)) is not None:
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
    frame = findings.tables["success_by_epsilon"].filter(pl.col("epsilon") > 0, pl.col("n") > 0)
    shown = moving_parts(frame.with_columns(dose=pl.col("epsilon") * scale(findings)))
    if shown.group_by("cohort").len()["len"].max() in (None, 1):
        return None
    grey = in_grey_levels(findings)
    unit = "grey levels of 255" if grey else "L2 length, images in [0, 1]"
    err, of = ("misclassified", "images classified correctly at first") if labelled else (UNLABELLED, "images")
    halves = _halves(findings)
    several = len(findings.cohorts) > 1
    told = "; ".join(_ends(part, str(name), unit) for (name,), part in shown.group_by("cohort", maintain_order=True))
    by = " One curve for each cohort, in the order in which half of its images are lost." if several else ""
    return Figure(
        f"{err.capitalize()} images against the size of the change"
        if labelled
        else "Changed decisions against the size",
        f"Share of the {of} that are {err}, with {100 * findings.level:g} % intervals; log scale, the part where it "
        f"moves.{by} Dashed line: {'half of the images' if several else 'where half of them are reached'}."
        if halves
        else f"Share of the {of} that are {err}, with {100 * findings.level:g} % intervals; log scale.{by}",
        f"Success rises over the size of the change. {told}.",
        lambda width: _draw(
            shown, styles(findings.cohorts), f"Change of each pixel, {unit}" if grey else unit, halves, width, err
        ),
        "success_by_epsilon",
        key=CURVE,
        level=findings.level,
    )  # fmt: skip


def _ends(part: pl.DataFrame, cohort: str, unit: str) -> str:
    first, last = part.row(0, named=True), part.row(-1, named=True)
    return (
        f"{cohort}: {percent(first['rate'], 0)} at {first['dose']:.3g} to {percent(last['rate'], 0)} at "
        f"{last['dose']:.3g} {unit}"
    )


def several_curves(frame: pl.DataFrame, findings: Findings, looks: Mapping[str, Style]) -> Figure | None:
    """Curves of other names than cohorts (in column cohort), such as stores; None where none has two points."""
    shown = moving_parts(frame.with_columns(dose=pl.col("epsilon") * scale(findings)))
    if shown.group_by("cohort").len()["len"].max() in (None, 1):
        return None
    grey = in_grey_levels(findings)
    unit = "grey levels of 255" if grey else "L2 length, images in [0, 1]"
    told = "; ".join(_ends(part, str(name), unit) for (name,), part in shown.group_by("cohort", maintain_order=True))
    return Figure(
        "", "", f"Success rises over the size of the change. {told}.",
        lambda width: _draw(
            shown, looks, f"Change of each pixel, {unit}" if grey else unit, {}, width, "misclassified"
        ),
        "success_by_epsilon", key=CURVE, level=findings.level,
    )  # fmt: skip


def moving_parts(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows of every cohort between the first and the last amplitude at which the curve of any of them moves."""
    parts = [moving_part(part) for part in frame.partition_by("cohort", maintain_order=True)]
    if not parts:
        return frame
    low, high = (
        pick(float(value) for part in parts if len(part) for value in (part["epsilon"][place],))
        for pick, place in ((min, 0), (max, -1))
    )
    return frame.filter(pl.col("epsilon").is_between(low, high)).sort("epsilon", maintain_order=True)


def _halves(findings: Findings) -> dict[str, float]:
    """Cohort → ε50 in the units of the axis, rising; those outside of the attacked amplitudes left out."""
    frame = findings.of_main_arm("epsilon50")
    rows = frame.filter(
        pl.col("step_size") == findings.step_size(findings.main_arm), pl.col("side") == "inside",
        pl.col("estimate").is_not_null(),
    ).sort("estimate")  # fmt: skip
    return {row["cohort"]: row["estimate"] * scale(findings) for row in rows.iter_rows(named=True)}


def _draw(
    frame: pl.DataFrame, looks: Mapping[str, Style], title: str, halves: Mapping[str, float], width: int, err: str
) -> alt.TopLevelMixin:
    import altair as alt

    names = list(dict.fromkeys([*halves, *frame["cohort"].to_list()]))  # the first lost first, as in the legend
    several = len(names) > 1
    room = min(width, WIDTH)
    hues = {name: style.colour for name, style in looks.items()}
    drawn = frame.with_columns(
        hue=pl.col("cohort").replace_strict(hues, return_dtype=pl.String),
        dash=pl.col("cohort").map_elements(lambda name: list(looks[name].dash), return_dtype=pl.List(pl.Int64)),
    )
    rows = drawn.select("cohort", "dose", "rate", "low", "high", "events", "n", "hue", "dash").to_dicts()
    ticks = apart(sorted(set(frame["dose"].to_list())), room - 66, TICK_ROOM)
    x = alt.X("dose:Q", title=title, scale=alt.Scale(type="log", nice=False, padding=10),
              axis=alt.Axis(values=ticks, format=".2~r", labelOverlap="greedy"))  # fmt: skip
    y = alt.Scale(domain=[0, 1], nice=False)
    axis = alt.Axis(labelExpr=PERCENT, values=[0, 0.5, 1], title=err)
    look = [looks[name] for name in names]
    legend = (
        alt.Legend(title=None, orient="bottom", columns=4 if width > WIDTH else 3, symbolSize=60, symbolStrokeWidth=2,
                   symbolOpacity=1, labelFontSize=11)
        if several
        else None
    )  # fmt: skip
    colour = alt.Color("cohort:N", scale=alt.Scale(domain=names, range=[s.colour for s in look]), legend=legend)
    mark = alt.Shape("cohort:N", scale=alt.Scale(domain=names, range=[s.mark for s in look]), legend=legend)
    base = alt.Chart(alt.Data(values=rows)).encode(x=x)
    told = [alt.Tooltip("cohort:N"), alt.Tooltip("dose:Q", title="change", format=".3~r"),
            alt.Tooltip("rate:Q", format=".1%"), alt.Tooltip("low:Q", title="interval from", format=".1%"),
            alt.Tooltip("high:Q", title="to", format=".1%"), alt.Tooltip("events:Q", title="images"),
            alt.Tooltip("n:Q", title="of")]  # fmt: skip
    rate = alt.Y("rate:Q", scale=y, axis=axis)
    layers = [
        base.mark_area(opacity=0.07 if several else 0.13).encode(
            y=alt.Y("low:Q", scale=y, axis=axis), y2="high:Q", detail="cohort:N", fill=alt.Fill("hue:N", scale=None)
        ),
        # raw values: a scale of these would take the legend of the marks away, or dash its symbols
        base.mark_line().encode(
            y=rate,
            detail="cohort:N",
            strokeDash=alt.StrokeDash("dash:N", scale=None),
            stroke=alt.Stroke("hue:N", scale=None),
        ),
        base.mark_point(filled=True, size=40, opacity=1).encode(y=rate, color=colour, shape=mark, tooltip=told),
    ]
    if several:
        half = alt.Chart(alt.Data(values=[{"half": 0.5}]))
        layers.insert(0, half.mark_rule(strokeDash=[4, 3], color=MUTED).encode(y=alt.Y("half:Q", scale=y, axis=axis)))
    elif halves:
        at = next(iter(halves.values()))
        line = alt.Chart(alt.Data(values=[{"dose": at, "text": f"half: {at:.2g}"}])).encode(x=x)
        layers += [
            line.mark_rule(strokeDash=[4, 3], color=MUTED),
            line.mark_text(align="left", dx=5, dy=-4, baseline="bottom", fontSize=11, fontWeight="bold", color=INK,
                           stroke="white", strokeWidth=0).encode(y=alt.datum(0.02), text="text:N"),
        ]  # fmt: skip
    return alt.layer(*layers).properties(width=room - 66, height=HEIGHT)


def image_pair(findings: Findings, labelled: bool) -> Figure | None:
    """One image with what the attack added to it; None where none was kept."""
    rows = image_rows(findings, pair_rows)
    if not rows:
        return None
    first = Row(rows[0].title, rows[0].cells[:1], rows[0].colour)
    at = level_text(findings, picture_epsilon(findings))
    return Figure(
        f"One image of those {'misclassified' if labelled else UNLABELLED} at {at}",
        f"{f'{first.title}: original' if len(findings.cohorts) > 1 else 'Original'}, attacked at {at}, and what the "
        "attack added, magnified around mid-grey. Further images: figure 2.",
        "; ".join(picture.alt for picture in first.cells[0].pictures) + ".",
        lambda width: plate([first], stacked=False, columns=1),
        rows=(first,),
        layout="beside",
        key=PAIR,
    )
