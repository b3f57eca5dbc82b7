"""`advassay datasets`: public data sets that can stand in for the reference study's private images."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from advassay.cli import options
from advassay.cli.error_handling import cli_errors, say
from advassay.cli.progress_bars import progress

if TYPE_CHECKING:
    from advassay.sources.datasets import Check, DatasetCard


class Action(StrEnum):
    """What is asked about data sets."""

    list = "list"
    show = "show"
    check = "check"
    study = "study"


What = Annotated[
    Action,
    typer.Argument(
        metavar="[list|show|check|study]",
        help="list: all recipes. show NAME: facts, and the source and cohort rules as YAML. check NAME FOLDER: what a "
        "folder lacks. study NAME: a whole study to start from.",
    ),
]
Name = Annotated[
    Optional[str],  # noqa: UP045 (typer reads Optional)
    typer.Argument(metavar="[NAME]", help="Name of a recipe.", show_default=False),
]
Folder = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Argument(metavar="[FOLDER]", help="With check: the folder with the set.", show_default=False),
]
Output = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--output", "-o", metavar="FILE", help="With study: file written; printed if not given."),
]

COLUMNS = {
    "name": "of the recipe",
    "title": "the set's name in words",
    "image_type": "X-ray, histology, …",
    "stands_for": "reference cohort → what the set shares with it and what not",
    "images": "how many, in words",
    "pixels": "width × height and file type",
    "patients": "how many, and whether the files name them",
    "size": "of the download",
    "licence": "as stated by its source",
    "citation": "what to cite",
    "ask": "where to get it or to ask for it",
    "facts": "where the facts come from",
    "notes": "what to know before trusting a number",
}
"""Columns of `datasets --json`."""


@cli_errors
def datasets(
    what: What = Action.list,
    name: Name = None,
    folder: Folder = None,
    output: Output = None,
    as_json: options.Json = False,
    quiet: options.QuietOption = False,
) -> None:
    """List public data sets for each reference cohort, show their rules, check a folder, or start a study.

    A recipe says whose a set is, where to ask for it, what it should contain and how its files become images with
    columns; docs/datasets.md has them all. `check` decodes no image; it exits with 1 if something is missing or there
    are fewer images than published, and it says whether a folder is a sample or has another layout.

    Example:

        advassay datasets check lc25000 data/histology/lc25000
    """
    from advassay.errors import SpecError
    from advassay.sources.datasets import card_names, load_card

    if what is Action.list:
        # Those that stand in for a reference cohort first.
        _list(sorted((load_card(one) for one in card_names()), key=lambda one: not one.stands_for), as_json)
        return
    if name is None:
        raise SpecError(f"datasets {what.value}: the name of a recipe is needed.", "See `advassay datasets`.")
    if what is Action.check:
        if folder is None:
            raise SpecError("datasets check: a folder is needed.", f"advassay datasets check {name} FOLDER")
        _check(load_card(name), folder, as_json, quiet)
    elif what is Action.show:
        _show(name, as_json)
    else:
        _study(name, output)


def _list(recipes: list[DatasetCard], as_json: bool) -> None:
    if as_json:
        _print_json([one.model_dump(mode="json", include=set(COLUMNS)) for one in recipes])
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("name", "stands in for", "images", "licence", "download", "cite", "ask for it"):
        table.add_column(column, overflow="fold")
    for one in recipes:
        cite = one.citation.partition(".")[0]
        table.add_row(one.name, ", ".join(one.stands_for), one.images, one.licence, one.size, cite, one.ask)
    console = Console()
    (console if console.is_terminal else Console(width=max(console.width, 220))).print(table)
    print("advassay datasets show NAME: all facts, and rules to paste into a study. Also: docs/datasets.md.")


def _show(name: str, as_json: bool) -> None:
    from advassay.sources.datasets import load_card, study_blocks

    if as_json:
        _print_json(load_card(name).model_dump(mode="json", by_alias=True, exclude_defaults=True))
    else:
        print(study_blocks(name), end="")


def _check(asked: DatasetCard, folder: Path, as_json: bool, quiet: bool) -> None:
    from advassay.sources.datasets import check

    with progress(quiet) as shown:
        found = check(asked, folder, shown)
    if as_json:
        _print_json(found.as_data())
    else:
        _print_check(asked, found, folder)
    if not found.complete:
        raise typer.Exit(1)


def _print_check(asked: DatasetCard, found: Check, folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{folder} against {asked.title}", title_justify="left", box=None, pad_edge=False)
    for column in ("", "what", "found", "published"):
        table.add_column(column, overflow="fold")
    for finding in found.findings:
        table.add_row(finding.status, finding.what, finding.found, finding.published)
    console = Console()
    (console if console.is_terminal else Console(width=max(console.width, 140))).print(table, markup=False)
    print(found.sentence())
    if not found.complete:
        print(f"{len(found.missing)} missing, {len(found.short)} short. The whole set: {asked.ask}")


def _study(name: str, output: Path | None) -> None:
    from advassay.errors import SpecError
    from advassay.study.config.study_templates import dataset_study

    text = dataset_study(name, file=str(output or "study.yaml"))
    if output is None:
        print(text, end="")
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        problem = f"--output: expected a new file in an existing folder, got {output} ({type(error).__name__})."
        raise SpecError(problem, "Choose another name.") from None
    say(f"Wrote {output}. What would run: advassay plan {output} --data FOLDER")


def _print_json(data: object) -> None:
    import json

    print(json.dumps(data, indent=2, ensure_ascii=False))
