"""`advassay prune`: remove superseded runs."""

from __future__ import annotations

from typing import Annotated

import typer

from advassay.cli import options
from advassay.cli.clean import clean, say
from advassay.cli.progress import size

Dry = Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")]


@clean
def prune(store: options.StoreArgument, dry: Dry = False) -> None:
    """Remove runs that the store's study no longer asks for, and files that were set aside as damaged.

    Runs of earlier versions of the study, and of networks that were trained again, go with their re-runs and gallery
    images. No number of the report is made of them.

    Example:

        advassay prune runs/demo --dry-run
    """
    from advassay.study.keep import kept_study
    from advassay.study.name_checks import store_at
    from advassay.study.prune import prune as prune_store

    place = store_at(store)
    kept_study(place)  # a folder that is no store is an error, and is not made one
    done = prune_store(place, dry=dry)
    for name in done.runs:
        print(name)
    verb = "To remove" if dry else "Removed"
    say(f"{verb}: {len(done.runs)} superseded runs, {done.files} damaged files; {size(done.bytes)}.")
