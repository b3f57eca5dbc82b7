"""Altair charts → SVG and PNG files through vl-convert, which needs neither a browser nor a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from advassay.layout import writing
from advassay.report.figures.plates import EXPORT_SCALE
from advassay.report.theme import CONFIG

if TYPE_CHECKING:
    import altair as alt

VEGA_LITE = "6.4"


def specification(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """The chart's Vega-Lite specification with the theme in place."""
    spec: dict[str, Any] = chart.to_dict()
    return spec | {"config": CONFIG}


def to_svg(spec: dict[str, Any]) -> str:
    """SVG text; every resource is inside it."""
    import vl_convert

    return vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE, allowed_base_urls=[])


def write_svg_and_png(svg: str, svg_path: Path) -> Path:
    """Write `svg` to `svg_path` and, beside it, as PNG at twice the size (192 pixels per inch); the PNG's path."""
    import vl_convert

    png_path = svg_path.with_suffix(".png")
    with writing(svg_path) as beside:
        beside.write_text(svg, encoding="utf-8")
    with writing(png_path) as beside:
        beside.write_bytes(vl_convert.svg_to_png(svg, scale=EXPORT_SCALE))
    return png_path


def javascript() -> str:
    """Vega, Vega-Lite and vega-embed as one script that needs no network (about 0.9 MB)."""
    import vl_convert

    # the stub demands a snippet, the library does not: without one it exports vegaEmbed to the window
    return vl_convert.javascript_bundle(vl_version=VEGA_LITE)  # type: ignore[call-arg]
