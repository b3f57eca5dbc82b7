"""`advassay compare`: two or more stores side by side, as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from advassay.cli import options
from advassay.cli.error_handling import cli_errors
from advassay.cli.progress_bars import progress

Stores = Annotated[
    list[Path],
    typer.Argument(metavar="STORE STORE...", help="Folders of two or more stores; the first is the baseline."),
]
Output = Annotated[
    Optional[Path],  # noqa: UP045 (typer reads Optional)
    typer.Option("--output", "-o", metavar="FILE", help="The page; compare.html if not given."),
]


@cli_errors
def compare(stores: Stores, output: Output = None, quiet: options.QuietOption = False) -> None:
    """Compare stores that attacked the same cohorts: curves side by side, paired differences, differing settings.

    Success is paired image by image between the main arms, with intervals that respect patients and p values adjusted
    over cohorts and ε; the page says first what differs. Needs no GPU, no images and no torch. Prints the page's path.

    Example:

        advassay compare runs/demo runs/demo-coarse-step -o compare.html
    """
    from advassay.report import write_comparison

    with progress(quiet) as shown:
        page = write_comparison(stores, output, progress=shown)
    print(page)
