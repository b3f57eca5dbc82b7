"""Plan rows as a table for people, and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from advassay.cli.progress import duration, size

if TYPE_CHECKING:
    from advassay.study import Plan, PlanRow

COLUMNS = {
    "stage": "prepare, train, range-finding (of an arm's amplitudes, on tuning images), attack, controls (of an arm), "
    "doubling (of its iterations, on a sample) or re-run (of images whose gradient vanished or whose probability "
    "rounded to 1, with the margin loss)",
    "cohort": "the cohort's name in the study",
    "what": "which images, which network, attacked by which arm",
    "unit": "what is counted: images, training passes (images × updates) or gradient steps",
    "total": "units in all",
    "have": "units that the store already holds",
    "basis": "where the number of images comes from: prepared, table (rules applied to the source's table), "
    "stated (source not here: the study's own numbers)",
    "arm": "name of the attack arm; empty for prepare and train",
    "at_most": "true where total is an upper bound: of a re-run until its arm has run, of controls always",
    "seconds": "estimated time of what is missing, of all of it where at_most; null where not measured",
    "bytes": "estimated disk that what is missing will take; null where unknown",
}
"""Columns of `plan --json` and `status --json`, in `rows`."""


def print_json(plan: Plan) -> None:
    """The plan as JSON on stdout."""
    print(json.dumps(plan.as_data(), indent=2, ensure_ascii=False))


def print_table(plan: Plan, *, title: str) -> None:
    """The plan as a table on stdout, a line a piece of work, sums below."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("stage", "cohort", "what"):
        table.add_column(name)
    for name in ("total", "have", "time", "disk"):
        table.add_column(name, justify="right")
    for row in plan.rows:
        seconds = "" if row.seconds is None or not row.missing else duration(row.seconds)
        room = "" if row.bytes is None or not row.missing else size(row.bytes)
        what = row.what if row.basis in ("prepared", "") else f"{row.what} ({row.basis})"
        units = f"{'≤ ' if row.at_most else ''}{row.total:,} {row.unit}"
        table.add_row(row.stage, row.cohort, what, units, f"{row.have:,}", seconds, room)
    console = Console()
    console = Console(width=max(console.width, 120)) if not console.is_terminal else console
    console.print(table)
    for unit, (total, have) in plan.totals().items():
        console.print(f"{unit}: {total - have:,} to do of {total:,}", highlight=False)
    if bounded := [row for row in plan.rows if row.at_most and row.missing]:
        steps = sum(row.missing for row in bounded)
        console.print(
            f"≤ at most, known when the arm has run: {steps:,} gradient steps of {_stages(bounded)}", highlight=False
        )
    for note in plan.notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)


def _stages(rows: Sequence[PlanRow]) -> str:
    """The stages of the rows, in words."""
    *others, last = ({"re-run": "re-runs"}.get(name, name) for name in dict.fromkeys(row.stage for row in rows))
    return f"{', '.join(others)} and {last}" if others else last
