"""How every figure looks: hue tells image types apart, mark and dash tell cohorts apart, text is dark enough to read.

Hues are Okabe and Ito's colour-blind safe blue, vermilion, green and purple (2008, "Color Universal Design"),
darkened until each has a contrast of at least 4.5 : 1 on white (WCAG 2.1, 1.4.3), because labels wear them too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
PALE = "#8c8c8c"
"""Of curves that are shown, but do not lead."""
INK, MUTED, GRID = "#1a1a1a", "#5c5c5c", "#e4e4e4"
KNOWN_HUES = {"X-ray": "#0068a8", "histology": "#b94a00"}
SPARE_HUES = ("#007a59", "#9a4577", "#6b5b00", "#444444")
MARKS = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
DASHES = ([1, 0], [7, 3], [2, 2], [8, 3, 2, 3], [4, 2], [1, 3])

CONFIG: dict[str, Any] = {
    "background": "white",
    "aria": False,  # the page names each chart as a whole; labels on every mark would double its size
    "font": FONT,
    "view": {"stroke": None, "continuousWidth": 300, "continuousHeight": 220},
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 11,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "gridColor": GRID,
        "domainColor": MUTED,
        "tickColor": MUTED,
        "labelFlush": False,
    },
    "axisY": {"domain": False, "ticks": False},
    "axisX": {"grid": False},
    "header": {
        "labelColor": INK,
        "labelFontSize": 12,
        "labelFontWeight": "bold",
        "labelAnchor": "start",
        "title": None,
        "labelPadding": 6,
    },
    "legend": {"labelColor": INK, "titleColor": INK, "labelFontSize": 12, "titleFontSize": 12, "orient": "top"},
    "title": {"color": INK, "fontSize": 13, "anchor": "start"},
    "line": {"strokeWidth": 2},
    "point": {"filled": True, "size": 42, "opacity": 1},
}


@dataclass(frozen=True)
class Style:
    """How one cohort is drawn."""

    colour: str
    mark: str
    dash: tuple[int, ...]
    place: int = 0
    """Among the curves of its hue."""


def hues(image_types: Sequence[str]) -> dict[str, str]:
    """Image type → hue; the two of the reference study always keep theirs.

    >>> hues(["fundus", "X-ray"])
    {'fundus': '#007a59', 'X-ray': '#0068a8'}
    """
    spare = [hue for hue in SPARE_HUES]
    return {
        t: KNOWN_HUES.get(t) or spare.pop(0) if t in KNOWN_HUES or spare else INK for t in dict.fromkeys(image_types)
    }


def styles(cohorts: Mapping[str, str]) -> dict[str, Style]:
    """Cohort → style, from cohort → image type: hue by type, mark and dash by place within the type.

    >>> drawn = styles({"X-TB": "X-ray", "X-AO": "X-ray", "H-BR": "histology"})
    >>> drawn["X-TB"].colour == drawn["X-AO"].colour, drawn["X-TB"].mark == drawn["X-AO"].mark
    (True, False)
    """
    hue, seen, drawn = hues(list(cohorts.values())), dict.fromkeys(cohorts.values(), 0), {}
    for cohort, image_type in cohorts.items():
        place = seen[image_type] % len(MARKS)
        drawn[cohort] = Style(hue[image_type], MARKS[place], tuple(DASHES[place]), place)
        seen[image_type] += 1
    return drawn


def colours_of(cohorts: Mapping[str, str]) -> dict[str, str]:
    """Cohort → hue of its image type, from cohort → image type."""
    return {cohort: style.colour for cohort, style in styles(cohorts).items()}


SERIES_HUES = (*KNOWN_HUES.values(), *SPARE_HUES)
"""Hues of curves that are no cohorts, such as attack arms in the panel of one cohort."""
