"""`advassay run`: a whole study, from images to its report."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from advassay.cli import options
from advassay.cli.error_handling import cli_errors, say, say_error
from advassay.cli.options import StudyOptions, say_left_out
from advassay.cli.output_tables import end_with_errors
from advassay.errors import SpecError

if TYPE_CHECKING:
    from advassay.records import RunHeader
    from advassay.spec.study_spec import Study
    from advassay.study import RunEnvironment
    from advassay.study.launchers.parts import Part
    from advassay.study.launchers.ray_launcher import RayCluster
    from advassay.study.run.prepare_stage import Failures

PartOption = Annotated[
    Optional[str],  # noqa: UP045 (typer reads Optional)
    typer.Option(
        "--part",
        metavar="I/N",
        help="Do one of N parts of the work (1/3, 2/3, 3/3), each in a process of its own on one store, and write no "
        "report. What a part needs of another one it waits for.",
    ),
]


class Engine(StrEnum):
    """What runs jobs in other processes."""

    ray = "ray"


On = Annotated[
    Optional[Engine],  # noqa: UP045
    typer.Option("--on", help="ray: do the work on a Ray cluster, by default one on this machine for this command."),
]
Address = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--address",
        metavar="ADDRESS",
        help="With --on ray: the cluster to use, as auto (the one this machine belongs to), HOST:PORT or "
        "ray://HOST:PORT. All its nodes need the store at the same path.",
    ),
]
Cores = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        "--cores-per-worker",
        min=1,
        metavar="N",
        help="With --on ray and without GPUs: cores of each worker. Default: the threads the store was begun with, "
        "else 1. With GPUs there is one worker for each.",
    ),
]
Wait = Annotated[
    bool,
    typer.Option(
        "--wait/--no-wait",
        help="Wait for what other processes make; --no-wait ends with exit code 9 instead and says what that is.",
    ),
]


@cli_errors
def run(
    study: options.StudyFile,
    store: options.StoreFolder = None,
    data: options.Data = None,
    device: options.DeviceOption = options.Device.auto,
    threads: options.Threads = None,
    scale: options.Scale = 1.0,
    source: options.SourceOption = None,
    changes: options.Set = None,
    key_file: options.KeyFile = None,
    part: PartOption = None,
    wait: Wait = True,
    on: On = None,
    address: Address = None,
    cores_per_worker: Cores = None,
    quiet: options.QuietOption = False,
    verbose: options.VerboseOption = False,
) -> None:
    """Run a whole study: prepare, train, attack, report.

    Stopped at any point (Ctrl-C, power cut), the same command continues. A study with more amplitudes, images,
    arms or seeds computes only what is new. At the end it prints where the report is.
    Given several times at once for one store, the commands share the work. With --part each does its own part of it,
    whenever it is started; `advassay report STORE` then makes the report.
    A cohort that cannot be formed does not stop the others: the report says that it is missing, its error comes last,
    and the exit code is 3. The same command takes it up once it can be formed.
    With --on ray workers on one or many machines do the jobs and attack images of one run side by side; the records are
    the same. Images that ended their worker three times are set aside: the report is made without them, the error
    comes last, and the same command tries them again.
    Before the first attack the study's analysis plan (`analysis:`) is frozen in the store; later changes are shown.

    Example:

        advassay run studies/demo.yaml --store runs/demo
    """
    asked = StudyOptions(study, store, data, device, threads, scale, source, changes, key_file, quiet, verbose)
    cluster = _cluster(on, address, cores_per_worker, asked)
    if part is None:
        run_and_report(asked, wait=wait, cluster=cluster)
    elif cluster is not None:
        raise SpecError("--part: a part is done by one process, --on ray by many.", "Leave one of them away.")
    else:
        run_part(asked, part, wait=wait)


def _cluster(
    on: Engine | None, address: str | None, cores_per_worker: int | None, asked: StudyOptions
) -> RayCluster | None:
    """The cluster that is asked for; None for this process. Raises SpecError for options that need --on."""
    if on is None:
        given = {"--address": address, "--cores-per-worker": cores_per_worker}
        for name, value in given.items():
            if value is not None:
                raise SpecError(f"{name}: {value} says how work is done on a cluster.", "Add --on ray.")
        return None
    from advassay.study.launchers.ray_launcher import RayCluster

    cores = cores_per_worker if cores_per_worker is not None else asked.threads
    return RayCluster(address, cores, asked.device.value)


def run_and_report(asked: StudyOptions, *, wait: bool = True, cluster: RayCluster | None = None) -> None:
    """Run a study, write its report, and say where that is: on stderr for people, its path on stdout for scripts.

    Ends with one error for each cohort that could not be formed; without a report where none could.
    """
    from advassay.report import write_report

    read = asked.read()
    failures: Failures = {}
    if cluster is not None:
        asked = replace(asked, device=options.Device.cpu)  # this process hands out work, the workers have the device
    with asked.site(read, runs_networks=cluster is None) as here:
        _run(read, here, failures, wait=wait, cluster=cluster)
        page = (
            write_report(here.store.root, None, progress=here.progress) if len(failures) < len(read.cohorts) else None
        )
    if page is not None:
        say_left_out(failures, read, here)
        say("Done. The report:")
        print(page)
    set_aside = {} if cluster is None else {str(place): problem for place, problem in enumerate(cluster.set_aside)}
    end_with_errors(failures | set_aside)


def run_part(asked: StudyOptions, text: str, *, wait: bool) -> None:
    """Do one part of a study, and say so on stderr. Ends with one error for each cohort that it had to go without."""
    from advassay.study.launchers.parts import parse_part

    part, read = parse_part(text), asked.read()
    failures: Failures = {}
    with asked.site(read, runs_networks=True) as here:
        headers = _run(read, here, failures, part=part, wait=wait)
    say_left_out(failures, read, here)
    say(f"Part {part.number} of {part.of} is done: {len(headers)} runs in {here.store.records}.")
    say(f"`advassay status {here.store.root}` says what other parts still lack, `advassay report` makes the report.")
    end_with_errors(failures)


def _run(
    study: Study,
    here: RunEnvironment,
    failures: Failures,
    *,
    part: Part | None = None,
    wait: bool,
    cluster: RayCluster | None = None,
) -> list[RunHeader]:
    """Run the study or a part of it; where it ends because others have to go first, say what failed until then."""
    from advassay.errors import WaitingError
    from advassay.study.config.name_checks import check_place

    check_place(here.store)  # before PyTorch is loaded
    from advassay.study.run.runner import run as run_study

    try:
        launcher = None if cluster is None else cluster.launch
        return run_study(study, here, failures, part=part, wait=wait, launcher=launcher)
    except WaitingError:
        for error in failures.values():
            say_error(error)
        raise
