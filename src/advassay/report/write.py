"""Findings → files: the page, every figure as SVG, PNG and PDF, every table as CSV; or one file of another format."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import polars as pl

from advassay.csv_export import csv_text
from advassay.errors import SpecError
from advassay.layout import Store, writing
from advassay.progress import Progress, Silent
from advassay.report.drawing import draw_all
from advassay.report.figures.catalogue import figures
from advassay.report.findings import Findings, gather
from advassay.report.outdated import is_written_anew
from advassay.report.page import render

Format = Literal["html", "md", "csv", "json", "pdf"]
FORMATS: tuple[str, ...] = get_args(Format)


def write_report(
    store: Path, output: Path | None = None, format: Format = "html", *, progress: Progress | None = None
) -> Path:
    """Write the report of a store and return the path of what was written.

    html  the page, with figures/ (SVG, PNG, PDF) and tables/ (CSV) beside it; it needs neither: figures are drawn in
          it and tables can be saved from it
    md    the same words and tables as Markdown, which links figures/
    pdf   the page as Chromium prints it
    json  words and tables as one document
    csv   the tables alone; the path is a folder

    Without `output`: STORE/report/report.<format> (csv: STORE/report/tables). With `output` (a file name; csv: a
    folder): there, and figures/ and tables/ in a folder of its name, report.html → report_files/. A report is written
    anew each time.

    Raises ReportError where nothing is recorded yet (pdf: or Chromium is not installed), StoreError where there is no
    store, SpecError for an unknown format.
    """
    if format not in FORMATS:
        raise SpecError(f"format: one of {', '.join(FORMATS)}, got {format!r}.", "Leave it out for html.")
    if output is not None:
        check_output(output, folder=format == "csv")
    if format == "pdf":
        from advassay.report.pdf import browser

        browser()  # before the work, not after it
    told = progress or Silent()
    found = gather(store, progress=told)
    home = Store(Path(store)).report
    if format == "csv":
        return write_tables(found.tables, output or home / "tables")
    path = output or home / f"report.{format}"
    beside = path.parent if output is None else path.with_name(f"{path.stem}_files")
    written = WRITERS[format](found, path, beside, told)
    is_written_anew(written)
    return written


def check_output(output: Path, *, folder: bool = False) -> None:
    """Raise SpecError, before the work, where a folder stands in the place of a file or a file in that of a folder."""
    if not folder and output.is_dir():
        raise SpecError(f"output: a file name is needed, {output} is a folder.", f"Name the file: {output / 'report'}")
    if folder and output.is_file():
        raise SpecError(f"output: csv goes into a folder, {output} is a file.", "Name a folder.")


def _write_html(found: Findings, page: Path, beside: Path, told: Progress) -> Path:
    write_tables(found.tables, beside / "tables")
    drawn = list(draw_all(list(figures(found)), beside, told))
    _write(page, render(found, drawn, as_csv(found.tables)))
    return page


def _write_markdown(found: Findings, path: Path, beside: Path, told: Progress) -> Path:
    from advassay.report.markdown import markdown

    folder = "" if beside == path.parent else f"{beside.name}/"
    _write(path, markdown(found, [one.figure for one in draw_all(list(figures(found)), beside, told)], folder))
    return path


def _write_json(found: Findings, path: Path, beside: Path, told: Progress) -> Path:
    from advassay.report.as_data import as_json

    _write(path, as_json(found))
    return path


def _write_pdf(found: Findings, path: Path, beside: Path, told: Progress) -> Path:
    from advassay.report.pdf import print_page

    drawn = list(draw_all(list(figures(found)), None, told))
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        _write(page, render(found, drawn, as_csv(found.tables)))
        print_page(page, path)
    return path


WRITERS = {"html": _write_html, "md": _write_markdown, "json": _write_json, "pdf": _write_pdf}


def write_tables(tables: Mapping[str, pl.DataFrame], folder: Path) -> Path:
    """Write each table as CSV into `folder`; returns it."""
    for name, text in as_csv(tables).items():
        _write(folder / f"{name}.csv", text)
    return folder


def as_csv(tables: Mapping[str, pl.DataFrame]) -> dict[str, str]:
    """Table → RFC 4180 text; floats with all their digits, an empty field where there is no value, no text that
    a spreadsheet would run."""
    return {name: csv_text(frame) for name, frame in tables.items()}


def _write(path: Path, text: str) -> None:
    with writing(path) as beside:
        beside.write_text(text, encoding="utf-8")
