"""`advassay demo`: a small study that needs no data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from advassay.cli import options
from advassay.cli.error_handling import cli_errors
from advassay.cli.options import StudyOptions
from advassay.cli.run import run_and_report

Store = Annotated[Path, typer.Option("--store", metavar="FOLDER", help="Folder that everything is written to.")]


@cli_errors
def demo(
    store: Store = Path("runs/demo"),
    device: options.DeviceOption = options.Device.auto,
    threads: options.Threads = None,
    scale: options.Scale = 1.0,
    changes: options.Set = None,
    quiet: options.QuietOption = False,
    verbose: options.VerboseOption = False,
) -> None:
    """Run the demo study on images made by the program; no data needed, some minutes on 2 cores.

    Four cohorts, small networks of the reference study's kind, and a report at the end.

    Example:

        advassay demo --store runs/demo
    """
    run_and_report(
        StudyOptions(
            shipped_study("demo.yaml"),
            store,
            device=device,
            threads=threads,
            scale=scale,
            changes=changes,
            quiet=quiet,
            verbose=verbose,
        )
    )


def shipped_study(file: str) -> Path:
    """A study file that comes with the program: in an installed wheel, else in the checkout it runs from."""
    from advassay.errors import SpecError

    package = Path(__file__).parents[1]
    for folder in (package / "_studies", package.parents[1] / "studies"):
        if (folder / file).is_file():
            return folder / file
    raise SpecError(f"{file}: this installation holds no shipped studies.", "Install advassay anew.")
