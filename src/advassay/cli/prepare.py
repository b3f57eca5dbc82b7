"""`advassay prepare`: the first stage of a study, alone."""

from __future__ import annotations

from advassay.cli import flow_table, options
from advassay.cli.clean import clean, say
from advassay.cli.staging import Asked


@clean
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
    flow: flow_table.FlowFile = None,
    as_json: options.Json = False,
    quiet: options.QuietOption = False,
) -> None:
    """Select, split and prepare the images of every cohort.

    The first stage of `run`, alone. What the store already has is kept. Prints every cohort's flow chart: counts in,
    out and why, at every step.

    Example:

        advassay prepare studies/demo.yaml --store runs/demo
    """
    from advassay.flow_chart import flow_of
    from advassay.study import prepare as prepare_study

    asked = Asked(study, store, data, device, threads, scale, source, changes, key_file, quiet)
    read = asked.read()
    with asked.site(read) as here:
        documents = prepare_study(read, here)
    rows = [row for document in documents.values() for row in flow_of(document)]
    if flow is not None:
        flow_table.write_csv(rows, flow)
    for name, document in documents.items():
        for warning in document.warnings:
            say(f"{name}: {warning}")
    (flow_table.print_json if as_json else flow_table.print_charts)(rows)
    say(f"Prepared in {here.store.root}.")
