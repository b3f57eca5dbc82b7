"""`advassay plan`: what a study would do, before it does it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from advassay.cli import options
from advassay.cli.error_handling import cli_errors, say
from advassay.cli.options import StudyOptions
from advassay.cli.output_tables import end_with_errors, print_plan_json, print_plan_table
from advassay.cli.progress_bars import duration, size

if TYPE_CHECKING:
    from advassay.study import Plan, RunEnvironment
    from advassay.study.plan.cluster_estimate import ClusterEstimate, ClusterShape
    from advassay.study.plan.plan_rows import Cost
    from advassay.study.run.prepare_stage import Failures

Measure = Annotated[
    bool, typer.Option("--measure/--no-measure", help="Measure this machine for a few seconds to estimate time.")
]

Nodes = Annotated[
    Optional[int],  # noqa: UP045 (typer reads Optional)
    typer.Option("--nodes", min=1, metavar="N", help="Also estimate a cluster of N nodes; needs --cores or --gpus."),
]
NodeCores = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--cores", min=1, metavar="N", help="Cores of each node of the cluster, one worker each."),
]
Gpus = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--gpus", min=1, metavar="N", help="GPUs of the cluster in all, one worker each."),
]
GpuRate = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        "--gpu-rate", min=1e-6, metavar="STEPS", help="Gradient steps per second of one GPU; default: as measured here."
    ),
]
Price = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option("--price", min=0, metavar="PRICE", help="Price of one node, or of one GPU, for an hour."),
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
    nodes: Nodes = None,
    cores: NodeCores = None,
    gpus: Gpus = None,
    gpu_rate: GpuRate = None,
    price: Price = None,
    as_json: options.Json = False,
) -> None:
    """Print what a study would do, what the store already has, and an estimate of time and disk.

    Nothing is written and no image is decoded: numbers of images follow from the rules and the sources' tables,
    or, where a source is not on this machine, from the numbers the study states ("stated"). Copies of an augmentation
    count. Attack steps that amplitudes share are counted once. What controls and re-runs beside an arm need shows when
    it has run: until then they are counted "at most" (≤). "doubling" is the control that attacks a sample for twice the
    iterations. Below the table: the cost of every stage, arms apart. A cohort that cannot be formed is not
    in the plan: its error comes last, and the exit code is 3.
    With --cores or --gpus also what the work that is missing would take on a cluster: hours, network traffic and cost.
    That is a model: attacks divide among workers, a cohort or a network is one worker's.

    Example:

        advassay plan studies/demo.yaml --store runs/demo
    """
    from advassay.cohorts.augmentation import warnings_of
    from advassay.study.plan.study_plan import plan as plan_study

    asked = StudyOptions(study, store, data, device, threads, scale, source, changes, None, quiet=True)
    read = asked.read()
    shape = _shape(nodes, cores, gpus, gpu_rate, price)
    failures: Failures = {}
    with asked.site(read, runs_networks=True) as here:
        found = plan_study(read, here, timed=measure, failures=failures)
    for name, warning in found.warnings:
        say(f"{name}: {warning}")
    for name, cohort in read.cohorts.items():
        for warning in warnings_of(cohort):
            say(f"{name}: {warning}")
    estimate = None if shape is None else _estimate(found, shape, here)
    if as_json:
        print_plan_json(found, None if estimate is None else {"cluster": estimate.as_data()})
        end_with_errors(failures)
        return
    print_plan_table(found, title=f"{read.name} into {here.store.root}")
    for cost in found.costs():
        print(_line(cost))
    print(f"estimate: {_whole_time(found)}; {size(found.bytes)} of disk ({_free(here.store.root)} free)")
    if shape is not None and estimate is not None:
        print(_cluster_line(shape, estimate))
    print("not in it: choosing batch sizes (seconds for each kind of image) and the report (up to some minutes)")
    end_with_errors(failures)


def _shape(
    nodes: int | None, cores: int | None, gpus: int | None, gpu_rate: float | None, price: float | None
) -> ClusterShape | None:
    """The cluster that is asked about; None where none is."""
    from advassay.study.plan.cluster_estimate import ClusterShape

    if all(value is None for value in (nodes, cores, gpus, gpu_rate, price)):
        return None
    shape = ClusterShape(nodes or 1, cores, gpus, gpu_rate, price)
    shape.check()
    return shape


def _estimate(found: Plan, shape: ClusterShape, here: RunEnvironment) -> ClusterEstimate:
    """What the plan takes on the cluster."""
    import torch

    from advassay.study.plan.cluster_estimate import estimate_cluster

    return estimate_cluster(found, shape, threads=here.threads or torch.get_num_threads())


def _cluster_line(shape: ClusterShape, estimate: ClusterEstimate) -> str:
    place = f"{shape.gpus} GPUs" if shape.gpus else f"{shape.nodes} nodes of {shape.cores} cores"
    more = estimate.seconds_at_most - estimate.seconds
    bound = f", controls and re-runs at most {duration(more)} more" if more else ""
    cost = "" if estimate.cost is None else f", cost {estimate.cost:,.2f} to {estimate.cost_at_most or 0:,.2f}"
    return f"on {place}, as a model: about {duration(estimate.seconds)}{bound}; " + (
        f"{size(estimate.network_bytes)} over the network{cost}"
    )


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
