"""`advassay select`: who would be in each cohort, from the sources' tables alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advassay.cli import options, output_tables
from advassay.cli.error_handling import cli_errors, say
from advassay.cli.options import StudyOptions

if TYPE_CHECKING:
    from advassay.study.run.prepare_stage import Failures


@cli_errors
def select(
    study: options.StudyFile,
    data: options.Data = None,
    source: options.SourceOption = None,
    changes: options.Set = None,
    flow: output_tables.FlowFile = None,
    as_json: options.Json = False,
    quiet: options.QuietOption = False,
) -> None:
    """Apply the rules of every cohort without reading an image: counts in, out and why, for millions of rows.

    What only pixels can tell (unreadable files, equal images under two names) is not known here; `prepare` finds it.
    Nothing is written but the file of --flow. A cohort that cannot be formed does not stop the others: its chart shows
    how far it came, its error comes last, and the exit code is 3.

    Example:

        advassay select studies/nih-selection.yaml --data "$ADVASSAY_DATA"
    """
    from advassay.study import select_cohorts

    asked = StudyOptions(study, None, data, options.Device.cpu, source=source, changes=changes, quiet=quiet or as_json)
    read = asked.read()
    failures: Failures = {}
    with asked.site(read, needs_device=False) as here:
        selected = select_cohorts(read, here, failures)
    for one in selected.values():
        for warning in one.flow.warnings:
            say(f"{one.cohort}: {warning}")
    charts = {name: one.chart() for name, one in selected.items()}
    output_tables.show_charts(charts, failures, list(read.cohorts), flow, as_json)
    output_tables.end_with_errors(failures)
