"""Success curves in panels, with labels at the ends of curves: the grammar that the curve figures share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from advassay.report.figures.chart_axes import (
    FARTHEST_LABEL,
    FEW_IMAGES,
    GAP,
    LABEL_SIZE,
    LONGEST_LABEL,
    Horizontal,
    label_room,
    panel_width,
    rate_axis,
    tooltips,
)
from advassay.report.figures.theme import Style

if TYPE_CHECKING:
    import altair as alt


def spread(heights: Sequence[float], gap: float, low: float = 0.0, high: float = 1.0) -> list[float]:
    """New heights at least `gap` apart, in the same order, near the old ones and inside [low, high] where they fit.

    Neighbours that are too close form a block, centred on the mean of its wishes (pool adjacent violators).

    >>> spread([0.5, 0.52, 0.9], 0.1)
    [0.46, 0.56, 0.9]
    """
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    blocks: list[list[int]] = []
    for index in order:
        blocks.append([index])
        while len(blocks) > 1 and _start(blocks[-1], heights, gap, low, high) < _end(
            blocks[-2], heights, gap, low, high
        ):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    placed = list(heights)
    for block in blocks:
        start = _start(block, heights, gap, low, high)
        for place, index in enumerate(block):
            placed[index] = round(start + place * gap, 9)
    return placed


def _start(block: list[int], heights: Sequence[float], gap: float, low: float, high: float) -> float:
    length = gap * (len(block) - 1)
    centre = sum(heights[i] for i in block) / len(block)
    return max(low, min(centre - length / 2, high - length))


def _end(block: list[int], heights: Sequence[float], gap: float, low: float, high: float) -> float:
    return _start(block, heights, gap, low, high) + gap * len(block) - 1e-9


LABEL: dict[str, Any] = {
    "align": "left", "dx": 9, "fontSize": LABEL_SIZE, "fontWeight": "bold", "limit": LONGEST_LABEL
}  # fmt: skip
SIZES = (2.0, 1.4, 1.0, 0.75, 0.6, 0.5)
"""Size of a mark by its curve's place: the first is the largest, so that it is seen under one that hides it."""


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
    mark: int = 34,
    title: str = "Attack success rate",
    steps: bool = False,
) -> alt.FacetChart:
    """Panels side by side (`columns` of them in `width` CSS pixels), in the order in which `by` first appears.

    `styles`: name of a series → how it is drawn; `mark`: size of a point in square CSS pixels; `steps`: curves hold
    their value until the next point. Curves wear their names at their ends, or, where a name would stand too far from
    its curve in any panel, a legend names all.
    """
    import altair as alt

    gap = LABEL_SIZE * 1.15 / height
    labelled = with_labels(_needed(frame, [series, by, x.column]), x.column, by=by, series=series, gap=gap)
    moved = labelled.select((pl.col("label_height") - pl.col("rate").fill_null(0.0)).abs().max()).item() or 0.0
    legend = moved * height > FARTHEST_LABEL
    if legend:
        labelled = labelled.with_columns(label_height=pl.lit(None, pl.Float64))
    sizes = {name: mark * SIZES[style.place % len(SIZES)] for name, style in styles.items()}
    hues = {name: style.colour for name, style in styles.items()}
    labelled = labelled.with_columns(
        mark_size=pl.col(series).replace_strict(sizes, return_dtype=pl.Float64),
        hue=pl.col(series).replace_strict(hues, return_dtype=pl.String),
        dash=pl.col(series).map_elements(lambda name: list(styles[name].dash), return_dtype=pl.List(pl.Int64)),
    )
    layers = _layers(labelled, x, styles, series, rate_axis(title=title), steps, legend, 6 if width > 500 else 3)
    return faceted(
        alt.layer(*layers), labelled, by, width=width, columns=columns, height=height,
        room=0 if legend else label_room(labelled[series].unique()),
    )  # fmt: skip


def _layers(
    frame: pl.DataFrame, x: Horizontal, styles: Mapping[str, Style], series: str, share: dict[str, Any], steps: bool,
    legend: bool, columns: int,
) -> list[alt.Chart]:  # fmt: skip
    import altair as alt

    named = alt.Legend(title=None, orient="top", columns=columns, symbolOpacity=1, symbolSize=60) if legend else None
    at = alt.Chart().encode(x=x.encoding())
    hue = colours(frame, styles, series, named)
    rate = alt.Y("rate:Q", **share)
    shape: Any = {"interpolate": "step-after"} if steps else {}
    look = [styles[name] for name in names_of(frame, series)]
    layers = [
        at.mark_area(fillOpacity=0.09, strokeOpacity=0.4, strokeWidth=0.7, **shape).encode(
            y=alt.Y("low:Q", **share), y2="high:Q", detail=f"{series}:N", fill=alt.Fill("hue:N", scale=None),
            stroke=alt.Stroke("hue:N", scale=None),  # where bands overlap their edges tell them apart
        ),
        # raw values: a scale of these would take the legend of the marks away, or dash its symbols
        at.mark_line(**shape).encode(
            y=rate, detail=f"{series}:N", strokeDash=alt.StrokeDash("dash:N", scale=None),
            stroke=alt.Stroke("hue:N", scale=None),
        ),
        *points(
            at.encode(
                y=rate,
                color=hue,
                shape=_by_series(alt.Shape, frame, series, [s.mark for s in look], named),
                size=alt.Size("mark_size:Q", scale=None, legend=None),
                tooltip=tooltips(x, series),
            ),
            frame,
        ),
    ]  # fmt: skip
    if not legend:
        label = at.transform_filter("isValid(datum.label_height)").encode(
            y=alt.Y("label_height:Q", **share), text=f"{series}:N", color=hue
        )
        layers += [
            label.mark_text(**LABEL, stroke="white", strokeWidth=3, strokeJoin="round"),  # clear of other curves
            label.mark_text(**LABEL),
        ]
    if frame["alone"].any():  # an empty layer would leave the axis without an extent
        bar = at.transform_filter("datum.alone").mark_rule(strokeWidth=1.5)
        layers.insert(0, bar.encode(color=hue, y=alt.Y("low:Q", **share), y2="high:Q"))
    return layers


def faceted(
    chart: Any, frame: pl.DataFrame, by: str, *, width: int, columns: int, height: int | alt.Step,
    room: int = 0,
) -> alt.FacetChart:  # fmt: skip
    """`chart` once for each value of `by`, in order of appearance; `room`: free at the right of each panel."""
    import altair as alt

    panels = chart.properties(width=panel_width(width, columns, room), height=height).facet(
        facet=alt.Facet(f"{by}:N", sort=names_of(frame, by), title=None),
        data=alt.Data(values=frame.to_dicts()),
        columns=columns,
        spacing={"row": 26, "column": GAP},
    )
    # each panel has an x axis of its own where the last row is not full: none under an empty place
    return panels.resolve_axis(x="independent") if frame[by].n_unique() % columns else panels


def with_labels(frame: pl.DataFrame, x: str, *, by: str, series: str, gap: float) -> pl.DataFrame:
    """`frame` with `label_height` (at each curve's last point where its name goes, null elsewhere) and `alone`.

    A curve of a single point (`alone`) has no band: its interval is drawn as a bar, unless it is of a single image.
    """
    frame = frame.with_columns(alone=(pl.len().over(by, series) == 1) & (pl.col("n") > 1))
    last = frame.filter(pl.col(x) == pl.col(x).max().over(by, series)).unique([by, series], maintain_order=True)
    placed = [
        part.with_columns(label_height=pl.Series(spread(part["rate"].fill_null(0.0).to_list(), gap), dtype=pl.Float64))
        for part in last.partition_by(by, maintain_order=True)
    ]
    heights = pl.concat(placed).select(by, series, x, "label_height")
    return frame.join(heights, on=[by, series, x], how="left", maintain_order="left")


def colours(
    frame: pl.DataFrame, styles: Mapping[str, Style], series: str = "cohort", legend: alt.Legend | None = None
) -> alt.Color:
    """The hue of every series; without a legend where curves and panels wear their names."""
    import altair as alt

    return _by_series(alt.Color, frame, series, [styles[name].colour for name in names_of(frame, series)], legend)


def names_of(frame: pl.DataFrame, column: str) -> list[str]:
    """Values of a column in the order in which they first appear."""
    return frame[column].unique(maintain_order=True).to_list()


def _by_series(
    channel: Any, frame: pl.DataFrame, series: str, drawn: Sequence[Any], legend: alt.Legend | None = None
) -> Any:
    import altair as alt

    scale = alt.Scale(domain=names_of(frame, series), range=list(drawn))
    return channel(f"{series}:N", legend=legend, scale=scale)


def _needed(frame: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Only what is drawn or told, so that a page with many points stays small."""
    columns = dict.fromkeys([*keys, "rate", "low", "high", "n", "events"])
    return frame.select(list(columns)).with_columns(pl.col("rate", "low", "high").round(5))


def points(base: alt.Chart, frame: pl.DataFrame, **mark: Any) -> list[alt.Chart]:
    """Marks of `base` at each row of `frame`: filled, or open where a row rests on few images (column n)."""
    n = frame["n"].fill_null(0)
    made = []
    if (n >= FEW_IMAGES).any():
        made.append(base.transform_filter(f"datum.n >= {FEW_IMAGES}").mark_point(filled=True, **mark))
    if ((n > 0) & (n < FEW_IMAGES)).any():  # an empty layer would leave the axis without an extent
        shown = base.transform_filter(f"datum.n > 0 && datum.n < {FEW_IMAGES}")
        made.append(shown.mark_point(filled=False, strokeWidth=1.5, **mark))
    return made
