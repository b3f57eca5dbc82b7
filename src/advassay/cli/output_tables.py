"""Plan rows and flow charts as tables for people, as JSON for programs, as CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from advassay.cli.progress_bars import duration, size

if TYPE_CHECKING:
    from advassay.errors import AdvassayError
    from advassay.flow_chart import FlowRow
    from advassay.study import Plan, PlanRow


PLAN_COLUMNS = {
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
    "architecture": "of the network that does it, where that is not the main one of the study; else empty",
    "at_most": "true where total is an upper bound: of a re-run until its arm has run, of controls always",
    "seconds": "estimated time of what is missing, of all of it where at_most; null where not measured",
    "bytes": "estimated disk that what is missing will take; null where unknown",
}
"""Columns of `plan --json` and `status --json`, in `rows`."""


def print_plan_json(plan: Plan, more: Mapping[str, Any] | None = None) -> None:
    """The plan as JSON on stdout, `more` beside it."""
    print(json.dumps(plan.as_data() | dict(more or {}), indent=2, ensure_ascii=False))


def print_plan_table(plan: Plan, *, title: str) -> None:
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


FLOW_COLUMNS = {
    "cohort": "the cohort's name in the study",
    "stage": "candidates, usable files, eligible, in a class, readable images, distinct images, balanced, split",
    "entering": "images that entered the stage",
    "left_out": "images that left there",
    "kept": "images that stayed",
    "reasons": "why images left: reason → images",
    "classes": "what stayed of each class: class → images; empty before images have classes",
    "roles": "stage split only: training, tuning, validation → images",
}
"""Columns of `prepare --json` and `select --json`, one entry per cohort and stage."""

FlowFile = Annotated[
    Optional[Path],  # noqa: UP045 (typer reads Optional)
    typer.Option("--flow", metavar="FILE", help="Also write the flow chart as CSV, one number a row."),
]
REASONS_SHOWN = 20


def show_charts(
    charts: Mapping[str, Sequence[FlowRow]],
    failures: Mapping[str, AdvassayError],
    cohorts: Sequence[str],
    flow: Path | None,
    as_json: bool,
) -> None:
    """Print the chart of every cohort, in order, and write it to the file `flow`; of one that failed as far as it
    came."""
    so_far = {name: getattr(error, "flow", ()) for name, error in failures.items()}
    rows = [row for name in cohorts for row in charts.get(name, so_far.get(name, ()))]
    if flow is not None:
        write_csv(rows, flow)
    (print_flow_json if as_json else print_charts)(rows)


def end_with_errors(failures: Mapping[str, AdvassayError]) -> None:
    """Say each cohort's error and leave with the exit code of the first; do nothing where there is none."""
    from advassay.cli.error_handling import say_error

    for error in failures.values():
        say_error(error)
    if failures:
        raise typer.Exit(next(iter(failures.values())).exit_code)


def print_flow_json(rows: Sequence[FlowRow]) -> None:
    """The charts as JSON on stdout."""
    print(json.dumps([row._asdict() for row in rows], indent=2, ensure_ascii=False))


def print_charts(rows: Sequence[FlowRow]) -> None:
    """One table a cohort on stdout."""
    from rich.console import Console

    console = Console()
    console = Console(width=max(console.width, 120)) if not console.is_terminal else console
    for cohort in dict.fromkeys(row.cohort for row in rows):
        console.print(_chart([row for row in rows if row.cohort == cohort]))
        console.print()


def _chart(rows: Sequence[FlowRow]):  # type: ignore[no-untyped-def]  # rich is imported where it is used
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(rows[0].cohort), title_justify="left", box=None, pad_edge=False)
    table.add_column("stage")
    table.add_column("images", justify="right")
    table.add_column("left out", justify="right")
    table.add_column("why; what stayed", ratio=1)
    for row in rows:
        lost = f"{row.left_out:,}" if row.left_out else ""
        table.add_row(row.stage, f"{row.kept:,}", lost, Text(_words(row)))
    return table


def _words(row: FlowRow) -> str:
    """Reasons, then classes, then roles, in one line each."""
    from advassay.flow_chart import LAST

    shown = list(row.reasons.items())
    rest = sum(images for _, images in shown[REASONS_SHOWN:])
    reasons = _listed(dict(shown[:REASONS_SHOWN]) | ({"other reasons": rest} if rest else {}))
    stayed = _listed(row.roles if row.stage == LAST else row.classes)
    of_classes = _listed(row.classes) if row.stage == LAST else ""
    return "\n".join(line for line in (reasons, f"→ {stayed}" if stayed else "", of_classes) if line)


def _listed(counts: dict[str, int]) -> str:
    return "; ".join(f"{name} {images:,}" for name, images in counts.items())


def write_csv(rows: Sequence[FlowRow], path: Path) -> None:
    """The charts in long form: cohort, place, stage, part, what, images."""
    from advassay.csv_export import defused_text
    from advassay.flow_chart import tidy
    from advassay.store_layout import writing

    with writing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        names = ("cohort", "place", "stage", "part", "what", "images")
        writer = csv.DictWriter(file, names, quoting=csv.QUOTE_NONNUMERIC)
        writer.writeheader()
        for row in tidy(rows):
            writer.writerow({name: defused_text(v) if isinstance(v, str) else v for name, v in row.items()})
