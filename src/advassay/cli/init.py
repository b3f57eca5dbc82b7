"""`advassay init`: a commented study file for one's own images."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Optional

import typer

from advassay.cli.error_handling import cli_errors, say

Images = Annotated[
    Path,
    typer.Argument(
        metavar="IMAGES",
        help="A folder with a subfolder per class or a table of its images, a CSV or Parquet table, a MedMNIST .npz.",
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Study file to write.")]
Name = Annotated[
    Optional[str],  # noqa: UP045 (typer reads Optional)
    typer.Option("--name", help="Name of the study; the folder's or file's if not given."),
]


@cli_errors
def init(images: Images, output: Output = Path("study.yaml"), name: Name = None) -> None:
    """Write a commented starter study for your images.

    What could be recognised is filled in: kind of source, columns, levels of folders, patients in file names, classes
    with counts, the image type that a few images look like, and rules with the table's own values. What needs your eyes
    is marked with "<-" in the file. An existing file is never overwritten.

    Example:

        advassay init images/by-class -o study.yaml
    """
    from advassay.errors import SpecError
    from advassay.study.config.starter_study import starter

    if output.exists():
        raise SpecError(f"{output} already exists.", "Choose another -o FILE.")
    text, data = starter(images, name=name, file=str(output))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, encoding="utf-8")
    say(f"Written to {output}. Read it through (lines marked <- need you), then:")
    say(f"  advassay plan {shlex.quote(str(output))} --data {shlex.quote(str(data))}")
