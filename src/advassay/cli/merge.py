"""`advassay merge`: join stores of one study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from advassay.cli import options
from advassay.cli.error_handling import cli_errors, say

Others = Annotated[
    list[Path],
    typer.Argument(metavar="OTHER...", help="Stores of the same study; they are left as they are.", show_default=False),
]


COLUMNS = {
    "store": "the store that was read",
    "cohorts": "cohorts that were copied from it",
    "networks": "networks, likewise",
    "runs": "new runs",
    "rows": "rows of runs",
    "gallery": "gallery entries",
}
"""Columns of `merge --json`, one entry for each other store."""

OUTDATED = "Patients were taken out of the store after this was written."


@cli_errors
def merge(
    store: options.StoreArgument, others: Others, as_json: options.Json = False, quiet: options.QuietOption = False
) -> None:
    """Copy into STORE what it lacks of other stores of the same study: cohorts, networks, runs, gallery.

    Everything is known by its content, so nothing is doubled. Who was taken out of one of the stores (advassay forget)
    is left out, and removed from STORE. A cohort that was prepared otherwise and a network with
    other weights are refused before anything is written. Stopped at any point, the same command continues.

    Example:

        advassay merge runs/demo runs/demo-of-another-machine
    """
    from advassay.report.output.outdated import mark_outdated
    from advassay.study.config.name_checks import store_at
    from advassay.study.study_storage import stored_study
    from advassay.study.upkeep.merge_stores import merge as merge_stores

    tell = (lambda _: None) if quiet or as_json else say
    taken: list[dict[str, object]] = []
    place = store_at(store)
    stored_study(place)
    for other in others:
        source = store_at(other)
        stored_study(source)
        done = merge_stores(place, source)
        taken.append(
            {"store": str(other), "cohorts": len(done.cohorts), "networks": done.networks, "runs": done.runs}
            | {"rows": done.rows, "gallery": done.examples}
        )
        tell(
            f"From {other}: {len(done.cohorts)} cohorts, {done.networks} networks, {done.runs} new runs, {done.rows} "
            f"rows, {done.examples} gallery entries."
        )
        if done.removed is not None and (reports := mark_outdated(place.report, OUTDATED)):
            say(f"Marked as outdated in {place.report}, may still show these people: {', '.join(reports)}.")
    if as_json:
        print(json.dumps(taken, ensure_ascii=False, indent=2))
    tell(f"Next: advassay report {store}")
