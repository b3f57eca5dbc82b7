"""ε50 over cohorts as a forest plot: one row a cohort and arm, its interval, arrows where the grid ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from advassay.analysis.conclusions.conclusion_text import readings
from advassay.report.data.findings import Findings
from advassay.report.figures.chart_axes import GREY_LEVELS, epsilon_axis, panel_width
from advassay.report.figures.curve_panels import colours
from advassay.report.figures.figure import FIGURES, Figure, figure
from advassay.report.figures.theme import Style, styles
from advassay.report.text import captions
from advassay.report.text.number_format import listed

if TYPE_CHECKING:
    import altair as alt


ROW, TALL_ROW = 22, 34
"""Height of a row in CSS pixels, the number beside its interval or, on narrow screens, above it."""
NAMES_ROOM, TEXT_ROOM = 40, 150


def epsilon50_forest(frame: pl.DataFrame, styles: Mapping[str, Style], *, width: int) -> alt.VConcatChart:
    """`frame`: cohort, arm, smallest, largest, estimate, low, high, text, n; a panel an arm, ε logarithmic.

    An estimate or bound outside the grid (null) is drawn as an arrow at the grid's edge, and written as "<" or ">".
    """
    import altair as alt

    placed = _placed(frame)
    room = TEXT_ROOM if width > 500 else 0
    across = panel_width(width - NAMES_ROOM, 1, room)
    ends = [float(value) for name in ("from", "to") for value in placed[name].to_list()]
    axis = epsilon_axis(ticks(min(ends), max(ends)), "ε50 (below it, in grey levels of 255)", panel=across)
    scale = alt.Scale(type="log", nice=False, padding=12)
    drawn = alt.Axis(title=axis.title, values=list(axis.values or ()), labelExpr=GREY_LEVELS, grid=True)
    at, start, end, edge = (alt.X(f"{name}:Q", scale=scale, axis=drawn) for name in ("at", "from", "to", "edge"))
    base = alt.Chart().encode(
        y=alt.Y("cohort:N", sort=None, title=None, axis=alt.Axis(grid=False)), color=colours(placed, styles)
    )
    told = ["cohort:N", alt.Tooltip("text:N", title="ε₅₀"), "n:Q"]
    told += ["patients:Q"] if placed["patients"].count() else []
    marks = (
        ("inside", "square", 64, at), ("open_low", "triangle-left", 50, start), ("open_high", "triangle-right", 50, end)
    )  # fmt: skip
    written = _number(base, edge) if room else _number(base, alt.value(0), dy=-12)

    def layers(part: pl.DataFrame) -> list[alt.Chart]:
        return [
            base.mark_rule(strokeWidth=1.5).encode(x=start, x2="to:Q"),
            *(
                base.transform_filter(f"datum.{which}").mark_point(size=size, shape=shape).encode(x=x, tooltip=told)
                for which, shape, size, x in marks
                if part[which].any()  # an empty layer would leave the axis without an extent
            ),
            written,
        ]

    height = alt.Step(ROW if room else TALL_ROW)
    panels = [
        alt.layer(*layers(part), data=alt.Data(values=part.to_dicts())).properties(
            width=across, height=height, title=alt.TitleParams(str(name), fontSize=12)
        )
        for (name,), part in placed.group_by("panel", maintain_order=True)
    ]  # a panel has the rows of its arm alone
    return alt.vconcat(*panels, spacing=12).resolve_scale(x="shared")


def _number(base: alt.Chart, x: Any, dy: int = 0) -> alt.Chart:
    return base.mark_text(align="left", dx=2 if dy else 14, dy=dy, fontSize=11).encode(x=x, text="text:N")


def ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten inside [low, high], both ends of it where there are none.

    >>> ticks(0.0005, 0.003), ticks(0.03, 0.04)
    ([0.0005, 0.001, 0.002], [0.03, 0.04])
    """
    found = [float(f"{m}e{p}") for p in range(-6, 1) for m in (1, 2, 5)]
    inside = [value for value in found if low <= value <= high]
    return inside if len(inside) > 1 else [low, high]


def _placed(frame: pl.DataFrame) -> pl.DataFrame:
    """Where each row's interval begins and ends on the axis: at the grid's edge where a bound lies outside.

    An interval without an estimate is a bracket: its bar is drawn alone.
    """
    numbers = [pl.col(name).cast(pl.Float64) for name in ("estimate", "low", "high")]
    made = frame.filter(pl.col("n") > 0).with_columns(
        *numbers, panel=pl.format("Arm {}", "arm"),
    )  # fmt: skip
    return made.with_columns(
        pl.coalesce("estimate", "low", "smallest").alias("at"),
        _low_end().alias("from"), _high_end().alias("to"), inside=pl.col("estimate").is_not_null(),
        open_low=pl.col("low").is_null() & (pl.col("side") != "above"),
        open_high=pl.col("high").is_null() & (pl.col("side") != "below"),
    ).with_columns(edge=pl.col("to").max())  # fmt: skip


def _low_end() -> pl.Expr:
    """An ε50 above the grid begins at its largest amplitude unless the interval reaches into it."""
    return pl.coalesce("low", pl.when(pl.col("side") == "above").then("largest").otherwise("smallest"))


def _high_end() -> pl.Expr:
    return pl.coalesce("high", pl.when(pl.col("side") == "below").then("smallest").otherwise("largest"))


@FIGURES.register
@figure("fig-epsilon50", section="results", order=110)
def fig_epsilon50(findings: Findings) -> Figure | None:
    """ε50 of every cohort and arm with its interval."""
    every = findings.tables["epsilon50"].filter(pl.col("n") > 0)
    outside = pl.col("side") != "inside"
    frame = every.filter(~outside)
    if not len(frame):
        return None
    rows = [f"{cohort} {text} (arm {arm})" for cohort, text, arm in every.select("cohort", "text", "arm").iter_rows()]
    return Figure(
        "ε₅₀: the amplitude at which half of the attackable images are misclassified",
        f"Squares are estimates of a log-logistic curve, bars are {100 * findings.level:g} % intervals. A bar without "
        f"a "
        "square means that the curve does not fit; it joins the amplitudes that bracket ε₅₀. An arrow means that the "
        f"bound lies outside the attacked grid; it is written as < or >. Each arm has a grid of its own. "
        f"{_dose(findings)} "
        f"{captions.every_attack(findings)}. {captions.sample(frame)}.{_not_drawn(every.filter(outside))}",
        f"ε50: {'; '.join(rows)}.",
        lambda width: epsilon50_forest(frame, styles(findings.cohorts), width=width), "epsilon50", frame,
    )  # fmt: skip


def _dose(findings: Findings) -> str:
    """Both readings behind ε50."""
    text = readings(findings.plan)
    return f"{text[0].upper()}{text[1:]}."


def _not_drawn(outside: pl.DataFrame) -> str:
    """Which ε50 lie outside the attacked grid, by arm, with the bound that is known."""
    if outside.is_empty():
        return ""
    told = [
        f"arm {arm}: {listed([f'{cohort} {text}' for cohort, text in part.select('cohort', 'text').iter_rows()])}"
        for (arm,), part in outside.group_by("arm", maintain_order=True)
    ]
    return f" Not drawn, because outside the attacked grid: {'; '.join(told)}."
