"""Findings → files: the page (HTML, PDF), JSON, every figure as SVG, PNG and PDF, every table as CSV."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import quote

import polars as pl

from advassay.csv_export import csv_text
from advassay.errors import ReportError, SpecError
from advassay.progress import Progress, Silent
from advassay.report.data.findings import Findings, gather
from advassay.report.data.several_cohorts import headline_text
from advassay.report.figures.answer_figures import answer_figures
from advassay.report.figures.figure import Figure, figures
from advassay.report.output.html_page import render, summary
from advassay.report.output.outdated import is_written_anew
from advassay.report.output.render_figures import draw_all
from advassay.report.tables.table import TABLES
from advassay.report.text import limitations, methods, recorded_warnings
from advassay.report.text.methods import REFERENCES
from advassay.store_layout import Store, writing


def as_json(findings: Findings) -> str:
    """Keys: format_version, title, summary, answer (the first sentences, if any), headlines (one text a
    cohort), not_shown, notices, epsilon, level, plan (what
    figures and tables follow), conclusions, tables (name → {about, columns, rows}), notes, methods, limits, references.
    A value that is not there is null; NaN and Infinity do not occur.
    """
    return json.dumps(_data(findings), ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def _data(findings: Findings) -> dict[str, Any]:
    answer = findings.first_screen
    return {
        "format_version": 1,
        "title": findings.title,
        "summary": summary(findings),
        "answer": list(answer.sentences) if answer else [],
        "headlines": [headline_text(findings, line) for line in answer.headlines] if answer else [],
        "not_shown": list(answer.not_shown) if answer else [],
        "notices": limitations.notices(findings),
        "epsilon": findings.epsilon,
        "level": findings.level,
        "plan": _plain(findings.plan.model_dump(mode="json"))
        | {"arm": findings.main_arm, "step_size": findings.step_size(findings.main_arm)},
        "conclusions": [_plain(conclusion.model_dump(mode="json")) for conclusion in findings.conclusions],
        "tables": {
            name: {"about": TABLES.get(name).about, "columns": frame.columns, "rows": _plain(list(frame.iter_rows()))}
            for name, frame in findings.tables.items()
        },
        "notes": {
            "preparation": recorded_warnings.of_preparation(findings.records),
            "runs": recorded_warnings.of_runs(findings.records, findings.runs),
        },
        "methods": {paragraph.heading: list(paragraph.sentences) for paragraph in methods.methods(findings)},
        "limits": limitations.limits(findings),
        "references": list(REFERENCES),
    }


def _plain(value: Any) -> Any:
    """What JSON can hold: NaN and infinite numbers are null, at any depth."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LONGEST = 300
"""Seconds that printing may take."""


def browser() -> str:
    """Path of an installed Chromium. Raises ReportError where there is none."""
    for name in BROWSERS:
        path = shutil.which(name)
        if path:
            return path
    raise ReportError(
        f"format pdf: one of {', '.join(BROWSERS)} is needed, found none on PATH.",
        "Install it (apt-get install chromium), or open the HTML report in any browser and print it to a file.",
    )


def print_page(page: Path, output: Path) -> None:
    """Print the HTML file `page` to `output` (A4, figures as vectors). Raises ReportError where the browser fails."""
    chromium = browser()
    with tempfile.TemporaryDirectory() as profile, writing(output) as beside:
        command = [
            chromium, "--headless", "--disable-gpu", "--no-pdf-header-footer", f"--user-data-dir={profile}",
            *(["--no-sandbox"] if os.geteuid() == 0 else []),  # Chromium refuses a sandbox to root
            f"--print-to-pdf={beside}", page.resolve().as_uri(),
        ]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False)
        except subprocess.TimeoutExpired:
            raise ReportError(f"format pdf: {chromium} took more than {LONGEST} s.", "Print the HTML report.") from None
        if done.returncode or not beside.is_file():
            said = done.stderr.strip().splitlines()[-1:] or ["no message"]
            raise ReportError(f"format pdf: {chromium} wrote nothing ({said[0]}).", "Print the HTML report.")


Format = Literal["html", "md", "csv", "json", "pdf"]
FORMATS: tuple[str, ...] = get_args(Format)


def write_report(
    store: Path,
    output: Path | None = None,
    format: Format = "html",
    *,
    files: bool = True,
    progress: Progress | None = None,
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
    files: of html; False writes the page alone, in a fraction of the time.

    Raises ReportError where nothing is recorded yet (pdf: or Chromium is not installed), StoreError where there is no
    store, SpecError for an unknown format.
    """
    if format not in FORMATS:
        raise SpecError(f"format: one of {', '.join(FORMATS)}, got {format!r}.", "Leave it out for html.")
    if output is not None:
        check_output(output, folder=format == "csv")
    if format == "pdf":
        browser()  # before the work, not after it
    told = progress or Silent()
    found = gather(store, progress=told)
    home = Store(Path(store)).report
    if format == "csv":
        return write_tables(found.tables, output or home / "tables")
    path = output or home / f"report.{format}"
    if format == "html" and not files:
        return _written(_write_page(found, path, told))
    beside = path.parent if output is None else path.with_name(f"{path.stem}_files")
    return _written(WRITERS[format](found, path, beside, told))


def _written(path: Path) -> Path:
    is_written_anew(path)
    return path


def check_output(output: Path, *, folder: bool = False) -> None:
    """Raise SpecError, before the work, where a folder stands in the place of a file or a file in that of a folder."""
    if not folder and output.is_dir():
        raise SpecError(f"output: a file name is needed, {output} is a folder.", f"Name the file: {output / 'report'}")
    if folder and output.is_file():
        raise SpecError(f"output: csv goes into a folder, {output} is a file.", "Name a folder.")


def _every_figure(found: Findings) -> list[Figure]:
    """Those of the first screen, and the numbered ones."""
    return [*answer_figures(found), *figures(found)]


def _write_page(found: Findings, page: Path, told: Progress) -> Path:
    """The page alone: figures and tables are in it."""
    _write(page, render(found, list(draw_all(_every_figure(found), None, told)), as_csv(found.tables)))
    return page


def _write_html(found: Findings, page: Path, beside: Path, told: Progress) -> Path:
    write_tables(found.tables, beside / "tables")
    drawn = list(draw_all(_every_figure(found), beside, told))
    files = "./" if beside == page.parent else f"./{quote(beside.name)}/"
    _write(page, render(found, drawn, as_csv(found.tables), files))
    return page


def _write_markdown(found: Findings, path: Path, beside: Path, told: Progress) -> Path:
    from advassay.report.output.markdown import markdown

    folder = "" if beside == path.parent else f"{beside.name}/"
    _write(path, markdown(found, [one.figure for one in draw_all(_every_figure(found), beside, told)], folder))
    return path


def _write_json(found: Findings, path: Path, beside: Path, told: Progress) -> Path:

    _write(path, as_json(found))
    return path


def _write_pdf(found: Findings, path: Path, beside: Path, told: Progress) -> Path:

    drawn = list(draw_all(_every_figure(found), None, told))
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
