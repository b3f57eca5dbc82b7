"""`advassay plan`: what a study would do, before it does it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from advassay.cli import options
from advassay.cli.clean import clean
from advassay.cli.progress import duration, size
from advassay.cli.staging import Asked
from advassay.cli.tables import print_json, print_table

Measure = Annotated[
    bool, typer.Option("--measure/--no-measure", help="Measure this machine for a few seconds to estimate time.")
]


@clean
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
    count. Attack steps that amplitudes share are counted once. Below the table: the cost of every stage, arms apart.

    Example:

        advassay plan studies/demo.yaml --store runs/demo
    """
    from advassay.study import plan as plan_study

    asked = Asked(study, store, data, device, threads, scale, source, changes, None, quiet=True)
    read = asked.read()
    with asked.site(read) as here:
        found = plan_study(read, here, timed=measure)
    if as_json:
        print_json(found)
        return
    print_table(found, title=f"{read.name} into {here.store.root}")
    for cost in found.costs():
        stage = f"{cost.stage}, arm {cost.arm}" if cost.arm else cost.stage
        print(f"{stage}: {cost.total - cost.have:,} {cost.unit}, {_time(cost.seconds)}, {size(cost.bytes)}")
    print(f"estimate: {_time(found.seconds)}, {size(found.bytes)} of disk ({_free(here.store.root)} free)")


def _time(seconds: float | None) -> str:
    return "time not measured" if seconds is None else f"about {duration(seconds)}"


def _free(folder: Path) -> str:
    import shutil

    existing = next(part for part in (folder.resolve(), *folder.resolve().parents) if part.exists())
    return size(shutil.disk_usage(existing).free)
