"""`advassay plan`: what a study would do, before it does it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from advassay.cli import options
from advassay.cli.error_handling import cli_errors, say
from advassay.cli.options import StudyOptions
from advassay.cli.output_tables import end_with_errors, print_plan_json, print_plan_table
from advassay.cli.progress_bars import duration, size

if TYPE_CHECKING:
    from advassay.study import Plan
    from advassay.study.plan.plan_rows import Cost
    from advassay.study.run.prepare_stage import Failures

Measure = Annotated[
    bool, typer.Option("--measure/--no-measure", help="Measure this machine for a few seconds to estimate time.")
]


@cli_errors
def plan(
    study: options.StudyFile,
    store: options.StoreFolder = None,
    data: options.Data = None,
    device: options.DeviceOption = options.Device.auto,
    threads: options.Threads = None,
    scale: options.Scale = 1.0,
    source: options.SourceOption = None,
    changes: options.Set = None,
    measure: Measure = True,
    as_json: options.Json = False,
) -> None:
    """Print what a study would do, what the store already has, and an estimate of time and disk.

    Nothing is written and no image is decoded: numbers of images follow from the rules and the sources' tables,
    or, where a source is not on this machine, from the numbers the study states ("stated"). Copies of an augmentation
    count. Attack steps that amplitudes share are counted once. What controls and re-runs beside an arm need shows when
    it has run: until then they are counted "at most" (≤). "doubling" is the control that attacks a sample for twice the
    iterations. Below the table: the cost of every stage, arms apart. A cohort that cannot be formed is not
    in the plan: its error comes last, and the exit code is 3.

    Example:

        advassay plan studies/demo.yaml --store runs/demo
    """
    from advassay.cohorts.augmentation import warnings_of
    from advassay.study.plan.study_plan import plan as plan_study

    asked = StudyOptions(study, store, data, device, threads, scale, source, changes, None, quiet=True)
    read = asked.read()
    failures: Failures = {}
    with asked.site(read, runs_networks=True) as here:
        found = plan_study(read, here, timed=measure, failures=failures)
    for name, warning in found.warnings:
        say(f"{name}: {warning}")
    for name, cohort in read.cohorts.items():
        for warning in warnings_of(cohort):
            say(f"{name}: {warning}")
    if as_json:
        print_plan_json(found)
        end_with_errors(failures)
        return
    print_plan_table(found, title=f"{read.name} into {here.store.root}")
    for cost in found.costs():
        print(_line(cost))
    print(f"estimate: {_whole_time(found)}; {size(found.bytes)} of disk ({_free(here.store.root)} free)")
    print("not in it: choosing batch sizes (seconds for each kind of image) and the report (up to some minutes)")
    end_with_errors(failures)


def _line(cost: Cost) -> str:
    stage = f"{cost.stage}, arm {cost.arm}" if cost.arm else cost.stage
    bound = "at most " if cost.at_most else ""
    return f"{stage}: {bound}{cost.total - cost.have:,} {cost.unit}, {_time(cost.seconds, bound)}, {size(cost.bytes)}"


def _whole_time(found: Plan) -> str:
    """The time of what is certain, and what controls and re-runs may add."""
    least, most = found.seconds, found.seconds_at_most
    more = (most or 0) - (least or 0)
    return _time(least) + (f", controls and re-runs at most {duration(more)} more" if more else "")


def _time(seconds: float | None, bound: str = "") -> str:
    return "time not measured" if seconds is None else f"{bound or 'about '}{duration(seconds)}"


def _free(folder: Path) -> str:
    import shutil

    existing = next(part for part in (folder.resolve(), *folder.resolve().parents) if part.exists())
    return size(shutil.disk_usage(existing).free)
