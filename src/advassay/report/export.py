"""Altair charts → SVG, PNG and PDF files through vl-convert, which needs neither a browser nor a network."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

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


def to_png(svg: str) -> bytes:
    """PNG at twice the size (192 pixels per inch)."""
    import vl_convert

    return vl_convert.svg_to_png(svg, scale=EXPORT_SCALE)


def with_words(svg: str, title: str, description: str) -> str:
    """SVG text whose title and description (alt text) stand inside it, for screen readers and editors.

    >>> print(with_words("<svg width='9'><g/></svg>", "Figure 1", "Two < three."))
    <svg width='9'><title>Figure 1</title><desc>Two &lt; three.</desc><g/></svg>
    """
    start = svg.index(">", svg.index("<svg")) + 1
    words = f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"
    return svg[:start] + words + svg[start:]


def described(png: bytes, title: str, description: str) -> bytes:
    """A PNG with title and description (alt text) inside: international text chunks (PNG third edition §11.3.3.4)."""
    said = b"".join(_text_chunk(key, text) for key, text in (("Title", title), ("Description", description)))
    return png[:_AFTER_HEADER] + said + png[_AFTER_HEADER:]


_AFTER_HEADER = 8 + 25
"""Bytes of a PNG's signature and its IHDR chunk."""


def _text_chunk(keyword: str, text: str) -> bytes:
    content = b"iTXt" + keyword.encode("latin-1") + b"\0\0\0\0\0" + text.encode()  # not compressed, no language
    return struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))


def write_figure(svg: str, path: Path, title: str, description: str) -> None:
    """Write a drawing to `path` as SVG, and beside it as PNG, both with title and alt text inside, and as PDF (vectors;
    fonts embedded)."""
    import vl_convert

    with writing(path) as beside:
        beside.write_text(with_words(svg, title, description), encoding="utf-8")
    png = described(to_png(svg), title, description)
    for suffix, content in ((".png", png), (".pdf", vl_convert.svg_to_pdf(svg))):
        with writing(path.with_suffix(suffix)) as beside:
            beside.write_bytes(content)


def javascript() -> str:
    """Vega, Vega-Lite and vega-embed as one script that needs no network (about 0.9 MB)."""
    import vl_convert

    # the stub demands a snippet, the library does not: without one it exports vegaEmbed to the window
    return vl_convert.javascript_bundle(vl_version=VEGA_LITE)  # type: ignore[call-arg]
