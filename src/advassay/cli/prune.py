"""`advassay prune`: remove superseded runs."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from advassay.cli import options
from advassay.cli.error_handling import cli_errors, say
from advassay.cli.progress_bars import size

COLUMNS = {
    "removed": "false with --dry-run: the rest is what would be removed",
    "runs": "names of superseded runs",
    "absent": "with --dry-run: cohorts and arms that the study no longer has; their runs go with --yes only",
    "damaged_files": "number of files that were set aside as damaged",
    "bytes": "disk that they take",
}
"""Keys of `prune --json`."""

Dry = Annotated[bool, typer.Option("--dry-run", help="Print what would be removed. Remove nothing.")]

Yes = Annotated[bool, typer.Option("--yes", help="Also remove runs of cohorts and arms that the study no longer has.")]


@cli_errors
def prune(store: options.StoreArgument, dry: Dry = False, yes: Yes = False, as_json: options.Json = False) -> None:
    """Remove runs that the store's study no longer asks for, and files that were set aside as damaged.

    Runs of earlier versions of the study, and of networks that were trained again, go with their re-runs and gallery
    images. The report does not use them. Where study.yaml was edited by hand or is damaged nothing is
    removed.

    Example:

        advassay prune runs/demo --dry-run
    """
    from advassay.study.config.name_checks import store_at
    from advassay.study.study_storage import stored_study
    from advassay.study.upkeep.superseded_runs import prune as prune_store

    place = store_at(store)
    stored_study(place)  # a folder that is no store is an error, and is not made one
    done = prune_store(place, dry=dry, yes=yes)
    if as_json:
        found = {"removed": not dry, "runs": list(done.runs), "absent": list(done.absent)}
        print(json.dumps(found | {"damaged_files": done.files, "bytes": done.bytes}, ensure_ascii=False, indent=2))
        return
    for name in done.runs:
        print(name)
    if dry and done.absent:
        say(f"Not in the study at all, removed with --yes only: {', '.join(done.absent)}.")
    verb = "To remove" if dry else "Removed"
    say(f"{verb}: {len(done.runs)} superseded runs, {done.files} damaged files; {size(done.bytes)}.")
