"""What a table is, the registry of all tables, and their numbers on the page.

Each file of this folder registers its tables, with what makes their rows, what their columns are called, and where the
page prints them: `TABLES.register(Table("performance", about=…, build=…, printed=(Printed(…),)))`. CSV files, JSON, the
page, Markdown and the numbering follow. Another package adds a table through the entry point group `advassay.tables`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

import polars as pl

from advassay.analysis import Conclusion
from advassay.analysis.interval_text import with_known_patients
from advassay.progress import Progress
from advassay.registry import Registry
from advassay.report.data.stored_counts import null_non_finite
from advassay.report.figures.figure import Figure
from advassay.report.page_sections import Section, in_page_order
from advassay.report.tables.column_labels import (
    Column,
    Grid,
    at_level,
    columns,
    every_column,
    grid,
    of_effects,
)

if TYPE_CHECKING:
    from advassay.report.data.findings import Findings

MOST_ROWS = 120
"""Rows up to which the numbers of a figure are printed below it; longer ones are left to their CSV."""


def every_row(frame: pl.DataFrame, findings: Findings) -> pl.DataFrame:
    """`frame` as it is."""
    return frame


@dataclass(frozen=True)
class Printed:
    """How the page prints a table, or a part of it.

    columns   those that are printed, with their words and formats; None = every one under its own name
    caption   what stands over it behind its number; from the findings where it depends on them
    section   where it stands; order: its place there, rising
    name      under which Markdown and tests find it; empty = the table's
    title     its name for screen readers; empty = what the table is about
    group     column whose equal neighbours share one cell of the starred columns
    rows      (frame, findings) → the rows that are printed
    fold      summary under which it is folded; empty = open
    numbered  False: it has no number, and is not printed on paper where it is folded
    companion  its number is that of the table before it with a letter, as 3b
    absent    what is said in its place where there are no rows; empty = nothing
    """

    columns: Sequence[Column] | None
    caption: str | Callable[[Findings], str]
    section: Section
    order: float
    name: str = ""
    title: str = ""
    group: str | None = None
    rows: Callable[[pl.DataFrame, Findings], pl.DataFrame] = every_row
    fold: str = ""
    numbered: bool = True
    companion: bool = False
    absent: str = ""


@dataclass(frozen=True)
class Table:
    """A registered table.

    name       of its CSV file without suffix, and in JSON
    about      what it holds
    build      findings → its rows; a table without rows is neither written nor shown
    needs      tables that `build` takes from the findings: they are made first
    says       choices of the plan in force that become columns: success, dose, level
    printed    where the page prints it; empty where it is the data of a figure
    of_figure  columns under a figure that is drawn from it; None = those of a curve, () = not printed there
    """

    name: str
    about: str
    build: Callable[[Findings], pl.DataFrame]
    needs: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    printed: tuple[Printed, ...] = ()
    of_figure: Sequence[Column] | None = None


TABLES = Registry("table", Table, package="advassay.report.tables", group="advassay.tables")
"""All tables."""


def build_tables(findings: Findings, progress: Progress, only: Sequence[str] | None = None) -> None:
    """Fill `findings.tables` with every table that has rows, by name; `only` those and what they need, None = all."""
    task = "analyse records"
    needs = {table.name: table.needs for table in TABLES.parts()}
    wanted = set(needs) if only is None else _with_needs(only, needs)
    progress.start(task, len(wanted), "tables")
    made: dict[str, pl.DataFrame] = {}
    for name in TopologicalSorter({name: needs[name] for name in needs if name in wanted}).static_order():
        table = TABLES.get(name)
        frame = _with_choices(table, table.build(findings), findings)
        if len(frame):
            made[name] = with_known_patients(null_non_finite(frame), findings.records.preparations)
            findings.tables[name] = made[name]
        progress.advance(task)
    findings.tables.clear()
    findings.tables.update({name: made[name] for name in TABLES if name in made})
    progress.finish(task)


def _with_needs(names: Sequence[str], needs: Mapping[str, Sequence[str]]) -> set[str]:
    """`names` with all that they need, directly or not."""
    found: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += needs[name]
    return found


def _with_choices(table: Table, frame: pl.DataFrame, findings: Findings) -> pl.DataFrame:
    """`frame` with the readings and the level behind its numbers as columns, where it does not have them."""
    plan = findings.plan
    known = {"success": plan.success, "dose": plan.dose, "level": plan.level}
    missing = {key: known[key] for key in table.says if key not in frame.columns}
    return frame.with_columns(**{key: pl.lit(value) for key, value in missing.items()}) if len(frame) else frame


@dataclass(frozen=True)
class PrintedTable:
    """A table as it stands on the page; `grid` is None where only `absent` is said."""

    table: Table
    how: Printed
    grid: Grid | None = None
    number: str = ""
    caption: str = ""

    @property
    def name(self) -> str:
        return self.how.name or self.table.name

    @property
    def section(self) -> Section:
        return self.how.section

    @property
    def order(self) -> float:
        return self.how.order

    @property
    def heading(self) -> str:
        """The caption with the number before it."""
        return f"Table {self.number}. {self.caption}" if self.number else self.caption


def printed_tables(findings: Findings) -> list[PrintedTable]:
    """What the page prints, numbered, in its order; a table without rows where something is said in its place."""
    placed = in_page_order([PrintedTable(table, how) for table in TABLES.parts() for how in table.printed])
    made = [replace(one, grid=_grid_of(one, findings)) for one in placed]
    shown = [one for one in made if one.grid is not None or one.how.absent]
    return list(_numbered([replace(one, caption=_caption(one, findings)) for one in shown]))


def _caption(one: PrintedTable, findings: Findings) -> str:
    if one.grid is None:
        return one.how.absent
    return one.how.caption if isinstance(one.how.caption, str) else one.how.caption(findings)


def _grid_of(one: PrintedTable, findings: Findings) -> Grid | None:
    table, how = one.table, one.how
    if table.name not in findings.tables:
        return None
    frame = how.rows(findings.tables[table.name], findings)
    if frame.is_empty():
        return None
    shown = every_column(frame) if how.columns is None else at_level(how.columns, findings.level)
    return grid(table.name, how.title or table.about, frame, shown, how.group)


def _numbered(placed: Sequence[PrintedTable]) -> Iterator[PrintedTable]:
    number, letter = 0, 0
    for one in placed:
        if not one.how.numbered or one.grid is None:
            yield one
            continue
        if one.how.companion and number:
            letter += 1
        else:
            number, letter = number + 1, 0
        yield replace(one, number=f"{number}{'abcdefghijklmnop'[letter] if letter else ''}")


def tables(findings: Findings) -> dict[str, Grid]:
    """Every printed table by name."""
    return {one.name: one.grid for one in printed_tables(findings) if one.grid is not None}


CURVE = columns(
    "cohort* store arm step_size success train_size seed epsilon step bin rate low high events n suspect_images "
    "patients method"
)


def numbers_of_figure(figure: Figure) -> Grid | None:
    """The numbers a figure is drawn from; None for pictures, long tables and those printed elsewhere."""
    if figure.numbers is None or len(figure.numbers) > MOST_ROWS:
        return None
    table = TABLES.find(figure.table)
    shown = CURVE if table is None or table.of_figure is None else table.of_figure
    if not shown:
        return None
    group = shown[0].key if shown[0].shared else None
    return grid(
        figure.table, f"Numbers of figure {figure.number}", figure.numbers, at_level(shown, figure.level), group
    )


def numbers_of_conclusion(conclusion: Conclusion) -> Grid | None:
    """The numbers a verdict rests on."""
    if not conclusion.details:
        return None
    frame = null_non_finite(pl.DataFrame(list(conclusion.details), infer_schema_length=None))
    every = every_column(frame)
    if "ratio" in frame.columns:
        every = of_effects(every, lambda row: "ratio", estimate="ratio")
    return grid("conclusion_details", f"Numbers behind conclusion {conclusion.number}", frame, every)
