"""`advassay select`: who would be in each cohort, from the sources' tables alone."""

from __future__ import annotations

from advassay.cli import flow_table, options
from advassay.cli.clean import clean, say
from advassay.cli.staging import Asked


@clean
def select(
    study: options.StudyFile,
    data: options.Data = None,
    source: options.SourceOption = None,
    changes: options.Set = None,
    flow: flow_table.FlowFile = None,
    as_json: options.Json = False,
) -> None:
    """Apply the rules of every cohort without reading an image: counts in, out and why, for millions of rows.

    What only pixels can tell (unreadable files, equal images under two names) is not known here; `prepare` finds it.
    Nothing is written but the file of --flow.

    Example:

        advassay select studies/nih-selection.yaml --data "$ADVASSAY_DATA"
    """
    from advassay.study import select_cohorts

    asked = Asked(study, None, data, options.Device.cpu, source=source, changes=changes, quiet=True)
    read = asked.read()
    with asked.site(read) as here:
        selected = select_cohorts(read, here)
    rows = [row for one in selected.values() for row in one.chart()]
    for one in selected.values():
        for warning in one.flow.warnings:
            say(f"{one.cohort}: {warning}")
    if flow is not None:
        flow_table.write_csv(rows, flow)
    (flow_table.print_json if as_json else flow_table.print_charts)(rows)
