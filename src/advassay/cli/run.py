"""`advassay run`: a whole study, from images to its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advassay.cli import options
from advassay.cli.error_handling import cli_errors, say
from advassay.cli.options import StudyOptions, say_left_out
from advassay.cli.output_tables import end_with_errors

if TYPE_CHECKING:
    from advassay.study.run.prepare_stage import Failures


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
    quiet: options.QuietOption = False,
) -> None:
    """Run a whole study: prepare, train, attack, report.

    Stopped at any point (Ctrl-C, power cut), the same command continues. A study with more amplitudes, images,
    arms or seeds computes only what is new. At the end it prints where the report is.
    A cohort that cannot be formed does not stop the others: the report says that it is missing, its error comes last,
    and the exit code is 3. The same command takes it up once it can be formed.
    Before the first attack the study's analysis plan (`analysis:`) is frozen in the store; later changes are shown.

    Example:

        advassay run studies/demo.yaml --store runs/demo
    """
    run_and_report(StudyOptions(study, store, data, device, threads, scale, source, changes, key_file, quiet))


def run_and_report(asked: StudyOptions) -> None:
    """Run a study, write its report, and say where that is: on stderr for people, its path on stdout for scripts.

    Ends with one error for each cohort that could not be formed; without a report where none could.
    """
    from advassay.report import write_report
    from advassay.study.run.runner import run as run_study

    read = asked.read()
    failures: Failures = {}
    with asked.site(read, runs_networks=True) as here:
        run_study(read, here, failures)
        page = (
            write_report(here.store.root, None, progress=here.progress) if len(failures) < len(read.cohorts) else None
        )
    if page is not None:
        say_left_out(failures, read, here)
        say("Done. The report:")
        print(page)
    end_with_errors(failures)
