"""Success curves in panels: the grammar that the curve figures share.

A frame has one row per point: the series (cohort, arm, …), the x column, `rate`, `low`, `high`, `n`, `events`, and
the column that panels are split by. Intervals are bands, points are marks, curves wear their names at the right end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from advassay.report.figures.labels import spread
from advassay.report.theme import Style

if TYPE_CHECKING:
    import altair as alt

LABEL_ROOM = 78
AXIS_ROOM = 54
LABEL_SIZE = 11
LABEL: dict[str, Any] = {"align": "left", "dx": 9, "fontSize": LABEL_SIZE, "fontWeight": "bold"}

GREY_LEVELS = "[format(datum.value, '~g'), format(datum.value * 255, '.2~r')]"
"""An axis label in two rows: ε, and the same in grey levels of an 8-bit image."""


@dataclass(frozen=True)
class Horizontal:
    """The horizontal axis: its column, title, scale and tick values."""

    column: str
    title: str
    log: bool = False
    values: tuple[float, ...] | None = None
    label: str | None = None
    tooltip: str = ""
    kind: str = "Q"
    smallest_tick: float | None = None
    """Ticks are at least this far apart: 1 for counts."""

    def encoding(self) -> alt.X:
        import altair as alt

        axis = alt.Axis(
            title=self.title,
            values=list(self.values) if self.values else alt.Undefined,
            labelExpr=self.label or alt.Undefined,
            labelOverlap="greedy",
            labelSeparation=3,
            tickCount=6,
            tickMinStep=self.smallest_tick if self.smallest_tick else alt.Undefined,
        )
        scale = alt.Scale(
            type="log" if self.log else "linear", nice=False, padding=8, zero=alt.Undefined if self.log else True
        )
        return alt.X(f"{self.column}:{self.kind}", axis=axis, scale=scale)


def epsilon_axis(epsilons: list[float], title: str = "ε (below it, in grey levels of 255)") -> Horizontal:
    """The axis of ε: linear where the grid is about even, logarithmic where it spans more than a factor of 20."""
    grid = sorted(set(epsilons))
    log = grid[0] > 0 and grid[-1] / grid[0] > 20
    return Horizontal("epsilon", title, log, tuple(_apart(grid, 1.9) if log else grid), GREY_LEVELS, "ε")


def _apart(grid: list[float], factor: float) -> list[float]:
    """Of rising values those at least `factor` from the one kept before, so that log-axis labels do not collide."""
    kept = grid[:1]
    for value in grid[1:]:
        if value / kept[-1] >= factor:
            kept.append(value)
    return kept


def rate_axis(low: float = 0.0, title: str = "Attack success rate") -> dict[str, Any]:
    """The vertical axis of shares, 0 to 100 %; from `low` where something is written under the curves."""
    import altair as alt

    ticks = [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    return {
        "scale": alt.Scale(domain=[low, 1], nice=False),
        "axis": alt.Axis(format="%", values=ticks),
        "title": title,
    }


def panels(
    frame: pl.DataFrame,
    x: Horizontal,
    styles: Mapping[str, Style],
    *,
    by: str,
    width: int,
    columns: int,
    height: int = 230,
    series: str = "cohort",
    label: str | None = None,
    mark: int = 34,
    title: str = "Attack success rate",
) -> alt.FacetChart:
    """Panels side by side (`columns` of them in `width` CSS pixels), in the order in which `by` first appears.

    `styles`: name of a series → how it is drawn; `label`: the column written at a curve's end, if not the
    series; `mark`: size of a point in square CSS pixels.
    """
    import altair as alt

    gap = LABEL_SIZE * 1.15 / height
    labelled = with_labels(
        _needed(frame, [series, by, label or series, x.column]), x.column, by=by, series=series, gap=gap
    )
    drawn = [styles[name] for name in names_of(frame, series)]
    at = alt.Chart().encode(x=x.encoding(), color=colours(frame, styles, series))
    share = rate_axis(title=title)
    rate = alt.Y("rate:Q", **share)
    named = at.transform_filter("isValid(datum.label_height)").encode(
        y=alt.Y("label_height:Q", **share), text=f"{label or series}:N"
    )
    layers = [
        at.mark_area(opacity=0.11).encode(y=alt.Y("low:Q", **share), y2="high:Q", detail=f"{series}:N"),
        at.mark_line().encode(
            y=rate,
            strokeDash=alt.StrokeDash(
                f"{series}:N", legend=None, scale=_scale(frame, series, [list(s.dash) for s in drawn])
            ),
        ),
        at.mark_point(size=mark).encode(
            y=rate,
            shape=alt.Shape(f"{series}:N", legend=None, scale=_scale(frame, series, [s.mark for s in drawn])),
            tooltip=tooltips(x, series),
        ),
        named.mark_text(**LABEL, stroke="white", strokeWidth=3, strokeJoin="round"),  # keeps it clear of other curves
        named.mark_text(**LABEL),
    ]
    if labelled["alone"].any():  # an empty layer would leave the axis without an extent
        bar = at.transform_filter("datum.alone").mark_rule(strokeWidth=1.5)
        layers.insert(0, bar.encode(y=alt.Y("low:Q", **share), y2="high:Q"))
    return with_axes(
        alt.layer(*layers)
        .properties(width=(width - AXIS_ROOM) // columns - LABEL_ROOM, height=height)
        .facet(
            facet=alt.Facet(f"{by}:N", sort=names_of(frame, by), title=None),
            data=alt.Data(values=labelled.to_dicts()),
            columns=columns,
            spacing=spacing(LABEL_ROOM),
        ),
        frame[by].n_unique(),
        columns,
    )


def with_axes(chart: alt.FacetChart, number: int, columns: int) -> alt.FacetChart:
    """Each of `number` panels with an x axis of its own where the last row is not full: none under an empty place."""
    return chart.resolve_axis(x="independent") if number % columns else chart


def spacing(between_columns: int) -> dict[str, int]:
    """Room between panels in CSS pixels: rows close, columns as far apart as curve labels need."""
    return {"row": 26, "column": between_columns}


def tooltips(x: Horizontal, series: str = "cohort") -> list[alt.Tooltip]:
    """What a reader sees when pointing at a mark: never a rate without its interval, events and n."""
    import altair as alt

    at = alt.Tooltip(
        f"{x.column}:{x.kind}", title=x.tooltip or x.column, format="~g" if x.kind == "Q" else alt.Undefined
    )
    return [
        alt.Tooltip(f"{series}:N"),
        at,
        alt.Tooltip("rate:Q", title="rate", format=".1%"),
        alt.Tooltip("low:Q", title="95 % interval from", format=".1%"),
        alt.Tooltip("high:Q", title="to", format=".1%"),
        alt.Tooltip("events:Q", title="images"),
        alt.Tooltip("n:Q", title="of"),
    ]


def with_labels(frame: pl.DataFrame, x: str, *, by: str, series: str, gap: float) -> pl.DataFrame:
    """`frame` with `label_height` (at each curve's last point where its name goes, null elsewhere) and `alone`.

    A curve of a single point (`alone`) has no band: its interval is drawn as a bar.
    """
    frame = frame.with_columns(alone=pl.len().over(by, series) == 1)
    last = frame.filter(pl.col(x) == pl.col(x).max().over(by, series)).unique([by, series], maintain_order=True)
    placed = [
        part.with_columns(label_height=pl.Series(spread(part["rate"].fill_null(0.0).to_list(), gap), dtype=pl.Float64))
        for part in last.partition_by(by, maintain_order=True)
    ]
    heights = pl.concat(placed).select(by, series, x, "label_height")
    return frame.join(heights, on=[by, series, x], how="left", maintain_order="left")


def colours(frame: pl.DataFrame, styles: Mapping[str, Style], series: str = "cohort") -> alt.Color:
    """The hue of every series; no legend, because curves and panels wear their names."""
    import altair as alt

    hues = [styles[name].colour for name in names_of(frame, series)]
    return alt.Color(f"{series}:N", legend=None, scale=_scale(frame, series, hues))


def names_of(frame: pl.DataFrame, column: str) -> list[str]:
    """Values of a column in the order in which they first appear."""
    return frame[column].unique(maintain_order=True).to_list()


def _scale(frame: pl.DataFrame, series: str, drawn: list[Any]) -> alt.Scale:
    import altair as alt

    return alt.Scale(domain=names_of(frame, series), range=drawn)


def _needed(frame: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Only what is drawn or told, so that a page with many points stays small."""
    columns = dict.fromkeys([*keys, "rate", "low", "high", "n", "events"])
    return frame.select(list(columns)).with_columns(pl.col("rate", "low", "high").round(5))
