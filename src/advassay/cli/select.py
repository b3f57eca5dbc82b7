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
    Nothing is written but the file of --flow. A cohort that cannot be formed does not stop the others: its chart shows
    how far it came, its error comes last, and the exit code is 3.

    Example:

        advassay select studies/nih-selection.yaml --data "$ADVASSAY_DATA"
    """
    from advassay.errors import AdvassayError
    from advassay.study import select_where_possible

    asked = Asked(study, None, data, options.Device.cpu, source=source, changes=changes, quiet=True)
    read = asked.read()
    with asked.site(read) as here:
        selected = select_where_possible(read, here)
    found = [one for one in selected.values() if not isinstance(one, AdvassayError)]
    for one in found:
        for warning in one.flow.warnings:
            say(f"{one.cohort}: {warning}")
    flow_table.show_charts({one.cohort: one.chart() for one in found}, selected, flow, as_json)
    flow_table.end_with_errors(selected)
