"""Axes and tooltips that all curve figures share: ε with grey levels, shares in percent, room for names."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair as alt

AXIS_ROOM = 58
"""Left of the first panel, in CSS pixels: title and labels of the vertical axis."""
GAP = 16
"""Between panels side by side, labels of curves not counted."""
LABEL_SIZE = 11
FEW_IMAGES = 5
"""Points that rest on fewer images are drawn open; an interval of a single image is not drawn."""
LONGEST_LABEL = 130
"""A longer name at a curve's end is cut with an ellipsis, in CSS pixels."""

FARTHEST_LABEL = 5.3
"""CSS pixels (4 points) between a curve's end and the middle of its name, beyond which a legend names the curves."""

GREY_LEVELS = "[format(datum.value, '~g'), format(datum.value * 255, datum.value * 255 < 1 ? '.2~r' : '.1~f')]"
"""An axis label in two rows: ε, and the same in grey levels of an 8-bit image."""
PERCENT = "format(100 * datum.value, '~g') + '\u00a0%'"


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
            labelOverlap=not (self.log and self.values) and "greedy",  # `apart` chose values whose labels fit
            labelSeparation=3,
            tickCount=6,
            tickMinStep=self.smallest_tick if self.smallest_tick else alt.Undefined,
        )
        scale = alt.Scale(
            type="log" if self.log else "linear", nice=False, padding=8, zero=alt.Undefined if self.log else True
        )
        return alt.X(f"{self.column}:{self.kind}", axis=axis, scale=scale)


def epsilon_axis(
    epsilons: Iterable[float], title: str = "ε (below it, in grey levels of 255)", *, column: str = "epsilon",
    panel: int = 360,
) -> Horizontal:  # fmt: skip
    """The axis of ε: logarithmic where the grid spans a factor of 5 or more and holds no 0, else linear.

    `panel`: its length in CSS pixels, which says how many labels fit.
    """
    grid = sorted(set(epsilons))
    log = grid[0] > 0 and grid[-1] / grid[0] >= 5
    return Horizontal(column, title, log, tuple(apart(grid, panel) if log else grid), GREY_LEVELS, "ε")


def apart(grid: Sequence[float], panel: int, label: int = 42) -> list[float]:
    """Of rising values on a logarithmic axis of `panel` pixels those whose labels fit, both ends among them.

    >>> apart([0.0005, 0.001, 0.002, 0.004, 0.2], 200)
    [0.0005, 0.002, 0.2]
    """
    if len(grid) < 3:
        return list(grid)
    pixels = panel / math.log(grid[-1] / grid[0])
    kept = [grid[0]]
    for value in grid[1:-1]:
        if min(math.log(value / kept[-1]), math.log(grid[-1] / value)) * pixels >= label:
            kept.append(value)
    return [*kept, grid[-1]]


def rate_axis(low: float = 0.0, title: str = "Attack success rate") -> dict[str, Any]:
    """The vertical axis of shares, 0 to 100 %; from `low` where something is written under the curves."""
    import altair as alt

    ticks = [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    return {
        "scale": alt.Scale(domain=[low, 1], nice=False),
        "axis": alt.Axis(labelExpr=PERCENT, values=ticks),
        "title": title,
    }


def coarse_share(title: str, low: float = 0.0) -> dict[str, Any]:
    """An axis of shares for small panels: ends and middle, labels inside the panel's width."""
    import altair as alt

    ticks = [value for value in (0, 0.5, 1) if value >= low]
    return {
        "scale": alt.Scale(domain=[low, 1], nice=False, padding=5),
        "axis": alt.Axis(labelExpr=PERCENT, values=ticks, labelFlush=8),
        "title": title,
    }


def label_room(names: Iterable[str]) -> int:
    """CSS pixels that the longest name needs at a curve's end (bold Liberation Sans of `LABEL_SIZE`)."""
    return min(LONGEST_LABEL, 14 + round(6.6 * max(map(len, names), default=0)))


def panel_width(width: int, columns: int, room: int = 0) -> int:
    """Width of each of `columns` panels in `width` CSS pixels, `room` kept free at the right of each."""
    return (width - AXIS_ROOM - (columns - 1) * GAP) // columns - room


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
        alt.Tooltip("low:Q", title="interval from", format=".1%"),
        alt.Tooltip("high:Q", title="to", format=".1%"),
        alt.Tooltip("events:Q", title="images"),
        alt.Tooltip("n:Q", title="of"),
    ]
