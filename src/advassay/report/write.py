"""Findings → files: the page, every figure as PNG and SVG, every table as CSV."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from advassay.layout import Store, writing
from advassay.progress import Progress, Silent
from advassay.report.export import with_words, write_figure
from advassay.report.figures.catalogue import figures
from advassay.report.findings import gather
from advassay.report.page import draw, render

PAGE = "report.html"


def write_report(store: Path, output: Path | None = None, *, progress: Progress | None = None) -> Path:
    """Write the report of a store and return the page's path.

    Without `output`: STORE/report/report.html with figures/ and tables/ beside it. With `output` (the page's file
    name): the page there, figures/ and tables/ in a folder of its name, report.html → report_files/. The page itself
    needs neither: figures are drawn in it and tables can be saved from it. A report is written anew each time.

    Raises ReportError where nothing is recorded yet, StoreError where there is no store.
    """
    told = progress or Silent()
    found = gather(store, progress=told)
    page = output or Store(Path(store)).report / PAGE
    beside = page.parent if output is None else page.with_name(f"{page.stem}_files")
    csv = {name: _csv(frame) for name, frame in found.tables.items()}
    for name, text in csv.items():
        _write(beside / "tables" / f"{name}.csv", text)
    made = list(figures(found))
    told.start("draw figures", len(made), "figures")
    drawn = []
    for figure in made:
        one, svg = draw(figure)
        titled = with_words(svg, f"Figure {figure.number}. {figure.title}", figure.description)
        write_figure(titled, beside / "figures" / f"{figure.key}.svg")
        drawn.append(one)
        told.advance("draw figures")
    told.finish("draw figures")
    _write(page, render(found, drawn, csv))
    return page


def _csv(frame: pl.DataFrame) -> str:
    """RFC 4180, UTF-8; floats with all their digits, an empty field where there is no value."""
    return frame.write_csv()


def _write(path: Path, text: str) -> None:
    with writing(path) as beside:
        beside.write_text(text, encoding="utf-8")
