"""`advassay sync`: bring a store and a place in object storage together."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from advassay.cli import options
from advassay.cli.error_handling import cli_errors, say

Target = Annotated[
    str,
    typer.Argument(metavar="TARGET", help="s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or a folder.", show_default=False),
]
Pull = Annotated[bool, typer.Option("--pull", help="Only bring into STORE what it lacks. Default: pull, then push.")]
Push = Annotated[bool, typer.Option("--push", help="Only bring into TARGET what it lacks.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be brought where; write nothing.")]

COLUMNS = {
    "snapshots": "states of other stores that were joined into STORE",
    "downloaded_files": "files that were read from TARGET",
    "downloaded_bytes": "their bytes",
    "cohorts": "cohorts that STORE did not have",
    "networks": "networks, likewise",
    "runs": "runs, likewise",
    "rows": "rows of runs, likewise",
    "uploaded_files": "files that TARGET did not have",
    "uploaded_bytes": "their bytes",
    "pushed": "name of the snapshot that was pushed; empty where TARGET had all of it",
    "differs": "documents that say otherwise on both sides: STORE keeps its own",
    "dry_run": "whether nothing was written",
}
"""Entries of `sync --json`."""


@cli_errors
def sync(
    store: options.StoreArgument,
    target: Target,
    pull: Pull = False,
    push: Push = False,
    dry_run: DryRun = False,
    as_json: options.Json = False,
    quiet: options.QuietOption = False,
) -> None:
    """Bring a store and a place in object storage together, both ways.

    For machines without a common file system: each runs a part of the study on a store of its own, and synchronises
    it before and after. Objects in TARGET are named by their content, created once and never changed, so any number of
    machines may push at once. What others pushed is joined into STORE as `advassay merge` does: nothing is doubled,
    and a cohort that was prepared otherwise or a network with other weights is refused. STORE may be new: then it is
    made from TARGET. Stopped at any point, the same command goes on.
    TARGET holds prepared images, and what is removed from STORE (advassay forget) stays there until you delete it. The
    table of file paths and original ids, STORE.sources.parquet, is never sent.
    s3:// and gs:// take their credentials and their endpoint from the environment.

    Example:

        advassay sync runs/demo runs/demo-target
    """
    from advassay.cli.merge import OUTDATED
    from advassay.cli.progress_bars import progress
    from advassay.report.output.outdated import mark_outdated
    from advassay.study.config.name_checks import store_at
    from advassay.study.upkeep.store_sync import sync as sync_store

    both, place = pull == push, store_at(store)
    with progress(quiet or as_json) as bars:
        done = sync_store(place, target, pull=pull or both, push=push or both, dry_run=dry_run, progress=bars)
    if any(one.removed is not None for one in done.merged) and (reports := mark_outdated(place.report, OUTDATED)):
        say(f"Marked as outdated in {place.report}, may still show these people: {', '.join(reports)}.")
    told = {name: getattr(done, name) for name in COLUMNS if hasattr(done, name)}
    told |= {
        "cohorts": sum(len(one.cohorts) for one in done.merged),
        "networks": sum(one.networks for one in done.merged),
        "runs": sum(one.runs for one in done.merged),
        "rows": sum(one.rows for one in done.merged),
        "dry_run": dry_run,
    }
    if as_json:
        print(json.dumps({name: told[name] for name in COLUMNS}, ensure_ascii=False, indent=2))
        return
    if quiet:
        return
    would = "Would be pulled" if dry_run else "Pulled"
    say(
        f"{would}: {done.snapshots} snapshots, {done.downloaded_files} files, {done.downloaded_bytes / 1e6:,.1f} MB"
        + ("." if dry_run else f"; new here: {told['cohorts']} cohorts, {told['networks']} networks, {told['runs']} "
           f"runs, {told['rows']} rows.")
    )  # fmt: skip
    would = "Would be pushed" if dry_run else "Pushed"
    say(f"{would}: {done.uploaded_files} files, {done.uploaded_bytes / 1e6:,.1f} MB.")
