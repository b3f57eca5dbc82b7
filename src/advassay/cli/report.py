"""`advassay report`: figures, tables and one page from a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from advassay.cli import options
from advassay.cli.clean import clean
from advassay.cli.progress import progress

Output = Annotated[
    Optional[Path],  # noqa: UP045 (typer reads Optional)
    typer.Option("--output", "-o", metavar="FILE", help="The page; STORE/report/ if not given."),
]


@clean
def report(store: options.StoreArgument, output: Output = None, quiet: options.QuietOption = False) -> None:
    """Write the report of a store: one page that opens offline, figures (PNG, SVG) and tables (CSV) beside it.

    Works on any machine with the store; needs no GPU, no images and no torch. Prints the page's path.

    Example:

        advassay report runs/demo -o runs/demo/report.html
    """
    from advassay.report import write_report

    with progress(quiet) as shown:
        page = write_report(store, output, progress=shown)
    print(page)
