"""Altair charts → SVG, PNG and PDF files with title and alt text, without a browser or a network."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from advassay.report.figures.image_panels import EXPORT_SCALE
from advassay.report.figures.theme import CONFIG
from advassay.store_layout import writing

if TYPE_CHECKING:
    import altair as alt


def in_svg(svg: str, title: str, description: str) -> str:
    """SVG text with `title` and `desc` as its first children (SVG 2 §5.8).

    >>> print(in_svg("<svg width='9'><g/></svg>", "Figure 1", "Two < three."))
    <svg width='9'><title>Figure 1</title><desc>Two &lt; three.</desc><g/></svg>
    """
    start = svg.index(">", svg.index("<svg")) + 1
    words = f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"
    return svg[:start] + words + svg[start:]


def in_png(png: bytes, title: str, description: str) -> bytes:
    """A PNG with international text chunks Title and Description (PNG third edition §11.3.3.4)."""
    from PIL.PngImagePlugin import PngInfo, putchunk

    words, written = PngInfo(), io.BytesIO()
    words.add_itxt("Title", title)
    words.add_itxt("Description", description)
    for kind, content, *_ in words.chunks:
        putchunk(written, kind, content)
    return png[:_AFTER_HEADER] + written.getvalue() + png[_AFTER_HEADER:]


def in_pdf(pdf: bytes, title: str, description: str) -> bytes:
    """A one-page PDF as a tagged one: its drawing is a Figure with alternate description (ISO 32000-1 §14.7, §14.9.3).

    The document's language is English; viewers show its title in place of the file's name.
    """
    from pikepdf import Array, Dictionary, Name, Pdf

    with Pdf.open(io.BytesIO(pdf)) as document:
        (page,) = document.pages
        page.contents_add(b"/Figure <</MCID 0>> BDC", prepend=True)  # all that the page draws is marked content 0
        page.contents_add(b"EMC")
        page.StructParents = 0
        tree = document.make_indirect(Dictionary(Type=Name.StructTreeRoot, ParentTreeNextKey=1))
        whole = document.make_indirect(Dictionary(Type=Name.StructElem, S=Name.Document, P=tree))
        drawing = document.make_indirect(
            Dictionary(Type=Name.StructElem, S=Name.Figure, P=whole, Pg=page.obj, K=0, Alt=description)
        )
        tree.K, whole.K = Array([whole]), Array([drawing])
        tree.ParentTree = Dictionary(Nums=Array([0, Array([drawing])]))
        root = document.Root
        root.StructTreeRoot, root.MarkInfo, root.Lang = tree, Dictionary(Marked=True), "en"
        root.ViewerPreferences = Dictionary(DisplayDocTitle=True)
        document.docinfo[Name.Title], document.docinfo[Name.Subject] = title, description
        written = io.BytesIO()
        document.save(written, deterministic_id=True)
    return written.getvalue()


_AFTER_HEADER = 8 + 25
"""Bytes of a PNG's signature and its IHDR chunk."""


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
        beside.write_text(in_svg(svg, title, description), encoding="utf-8")
    png = in_png(to_png(svg), title, description)
    pdf = in_pdf(vl_convert.svg_to_pdf(svg), title, description)
    for suffix, content in ((".png", png), (".pdf", pdf)):
        with writing(path.with_suffix(suffix)) as beside:
            beside.write_bytes(content)


def javascript() -> str:
    """Vega, Vega-Lite and vega-embed as one script that needs no network (about 0.9 MB)."""
    import vl_convert

    # the stub demands a snippet, the library does not: without one it exports vegaEmbed to the window
    return vl_convert.javascript_bundle(vl_version=VEGA_LITE)  # type: ignore[call-arg]
