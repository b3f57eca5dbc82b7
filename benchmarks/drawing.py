"""Figures of the explanation pages: one theme with the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import altair as alt
import polars as pl

from advassay.report.output.figure_files import specification, to_svg

COLOURS = ["#0068a8", "#b94a00", "#007a59", "#9a4577", "#6b5b00", "#444444"]


def small_multiples(
    frame: pl.DataFrame, *, x: Any, y: Any, colour: Any, column: str, dash: Any = None, row: str | None = None
) -> alt.TopLevelMixin:
    """Lines with points, one panel per value of `column` (and `row`)."""
    colour = colour.copy()
    colour["scale"] = alt.Scale(range=COLOURS)
    channels = {"x": x, "y": y, "color": colour} | ({"strokeDash": dash} if dash is not None else {})
    base = alt.Chart(frame).encode(**channels)
    drawn = base.mark_line(point=alt.OverlayMarkDef(size=24)).properties(width=300, height=200)
    facets: dict[str, Any] = {"column": alt.Column(f"{column}:N", title=None, sort=list(dict.fromkeys(frame[column])))}
    if row is not None:
        facets["row"] = alt.Row(f"{row}:N", title=None, sort=list(dict.fromkeys(frame[row])))
    return drawn.facet(**facets)


def save(chart: alt.TopLevelMixin, path: Path) -> None:
    """Write `chart` as SVG, and as PNG for looking at."""
    import vl_convert

    path.parent.mkdir(parents=True, exist_ok=True)
    svg = to_svg(specification(chart))
    path.write_text(svg, encoding="utf-8")
    path.with_suffix(".png").write_bytes(vl_convert.svg_to_png(svg, scale=2))
