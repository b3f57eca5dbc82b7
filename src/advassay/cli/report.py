"""`advassay report`: figures, tables and one page from a store."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Optional

import typer

from advassay.cli import options
from advassay.cli.error_handling import cli_errors
from advassay.cli.progress_bars import progress


class Format(StrEnum):
    """What a report may be written as."""

    html = "html"
    md = "md"
    csv = "csv"
    json = "json"
    pdf = "pdf"


Output = Annotated[
    Optional[Path],  # noqa: UP045 (typer reads Optional)
    typer.Option("--output", "-o", metavar="FILE", help="The report; STORE/report/ if not given. With csv a folder."),
]
FormatOption = Annotated[
    Format,
    typer.Option(
        "--format",
        help="html: one page; md: Markdown; csv: the tables alone; json: words and tables; pdf: printed by Chromium.",
    ),
]


@cli_errors
def report(
    store: options.StoreArgument, output: Output = None, format: FormatOption = Format.html,
    quiet: options.QuietOption = False,
) -> None:  # fmt: skip
    """Write the report of a store: one page that opens offline, figures (SVG, PNG, PDF) and tables (CSV) beside it.

    Works on any machine with the store; needs no GPU, no images and no torch. Prints the path.

    Example:

        advassay report runs/demo -o runs/demo/report.html
    """
    from advassay.report import write_report

    with progress(quiet) as shown:
        page = write_report(store, output, format.value, progress=shown)
    print(page)
