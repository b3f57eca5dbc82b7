"""`advassay status`: how far the study in a store is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from advassay.cli import options
from advassay.cli.error_handling import cli_errors
from advassay.cli.output_tables import end_with_errors, print_plan_json, print_plan_table

if TYPE_CHECKING:
    from advassay.store_layout import Store
    from advassay.study.run.prepare_stage import Failures


@cli_errors
def status(
    store: options.StoreArgument,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Print what the store holds of its study and what is missing, controls and re-runs too. Nothing is written.

    ≤ marks an upper bound: how much of it is needed shows when its arm has run. A cohort that cannot be formed
    is not in the table: its error comes last, and the exit code is 3. Below it, where a cluster works
    or has worked in the store: what is under way, what was set aside, and what each node attacked.

    Example:

        advassay status runs/demo
    """
    from advassay.study import make_environment, stored_study
    from advassay.study.plan.study_plan import plan

    here = make_environment(store, data=data, device="cpu")
    study = stored_study(here.store)
    failures: Failures = {}
    found = plan(study, here, timed=False, failures=failures)
    if as_json:
        print_plan_json(found)
    else:
        print_plan_table(found, title=f"{study.name} in {store}")
        for line in _cluster_lines(here.store):
            print(line)
    end_with_errors(failures)


def _cluster_lines(store: Store) -> Iterator[str]:
    """What is known of the clusters that filled the store, in words."""
    from advassay.cli.progress_bars import duration
    from advassay.records import read_cluster

    if (found := read_cluster(store.root)) is None:
        return
    for job in found.running:
        yield f"under way: {job}"
    if found.running:
        yield f"{found.done} of {found.jobs} jobs done, {found.workers} workers, as of {found.updated}"
    yield from found.aside
    for name, node in sorted(found.nodes.items()):
        yield (
            f"node {name}: {node.pieces:,} pieces, {node.images:,} images, {node.rows:,} rows, "
            f"{node.gradient_evaluations:,} gradients in {duration(node.seconds)} of its workers"
        )
