"""Altair charts → SVG, PNG and PDF files through vl-convert, which needs neither a browser nor a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from advassay.layout import writing
from advassay.report import alt_text
from advassay.report.figures.plates import EXPORT_SCALE
from advassay.report.theme import CONFIG

if TYPE_CHECKING:
    import altair as alt

VEGA_LITE = "6.4"


def specification(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """The chart's Vega-Lite specification with the theme in place; tests hold every figure's against the schema, which
    takes as long as drawing.
    """
    spec: dict[str, Any] = chart.to_dict(validate=False)
    return spec | {"config": CONFIG}


def to_svg(spec: dict[str, Any]) -> str:
    """SVG text; every resource is inside it."""
    import vl_convert

    return vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE, allowed_base_urls=[])


def to_png(svg: str) -> bytes:
    """PNG at twice the size (192 pixels per inch)."""
    import vl_convert

    return vl_convert.svg_to_png(svg, scale=EXPORT_SCALE)


def write_figure(svg: str, path: Path, title: str, description: str) -> None:
    """Write a drawing to `path` as SVG, and beside it as PNG and PDF (vectors; fonts embedded), each with title and alt
    text inside.
    """
    import vl_convert

    with writing(path) as beside:
        beside.write_text(alt_text.in_svg(svg, title, description), encoding="utf-8")
    png = alt_text.in_png(to_png(svg), title, description)
    pdf = alt_text.in_pdf(vl_convert.svg_to_pdf(svg), title, description)
    for suffix, content in ((".png", png), (".pdf", pdf)):
        with writing(path.with_suffix(suffix)) as beside:
            beside.write_bytes(content)


def javascript() -> str:
    """Vega, Vega-Lite and vega-embed as one script that needs no network (about 0.9 MB)."""
    import vl_convert

    # the stub demands a snippet, the library does not: without one it exports vegaEmbed to the window
    return vl_convert.javascript_bundle(vl_version=VEGA_LITE)  # type: ignore[call-arg]
