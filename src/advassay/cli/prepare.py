"""`advassay prepare`: the first stage of a study, alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advassay.cli import options, output_tables
from advassay.cli.error_handling import cli_errors, say
from advassay.cli.options import StudyOptions

if TYPE_CHECKING:
    from advassay.study.run.prepare_stage import Failures


@cli_errors
def prepare(
    study: options.StudyFile,
    store: options.StoreFolder = None,
    data: options.Data = None,
    device: options.DeviceOption = options.Device.auto,
    threads: options.Threads = None,
    scale: options.Scale = 1.0,
    source: options.SourceOption = None,
    changes: options.Set = None,
    key_file: options.KeyFile = None,
    flow: output_tables.FlowFile = None,
    as_json: options.Json = False,
    quiet: options.QuietOption = False,
) -> None:
    """Select, split and prepare the images of every cohort.

    The first stage of `run`, alone. What the store already has is kept. Prints every cohort's flow chart: counts in,
    out and why, at every step. A cohort that cannot be formed does not stop the others: its chart shows how far it
    came, its error comes last, and the exit code is 3.

    Example:

        advassay prepare studies/demo.yaml --store runs/demo
    """
    from advassay.flow_chart import flow_of
    from advassay.study import prepare as prepare_study

    asked = StudyOptions(study, store, data, device, threads, scale, source, changes, key_file, quiet)
    read = asked.read()
    failures: Failures = {}
    with asked.site(read, needs_device=False) as here:
        documents = prepare_study(read, here, failures)
    for name, document in documents.items():
        for warning in document.warnings:
            say(f"{name}: {warning}")
    charts = {name: flow_of(document) for name, document in documents.items()}
    output_tables.show_charts(charts, failures, list(read.cohorts), flow, as_json)
    if documents:
        say(f"{len(documents)} of {len(read.cohorts)} cohorts prepared in {here.store.root}.")
    output_tables.end_with_errors(failures)
