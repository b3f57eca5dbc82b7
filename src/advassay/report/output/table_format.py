"""Tables as the page prints them: a frame, the columns to show, and how each number is written.

Every cell keeps the value it was written from, so that a test can hold the page against the CSV.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from advassay.report.text.number_format import count, number, percent

Show = Callable[[Any], str]


@dataclass(frozen=True)
class Column:
    """One column of a printed table."""

    key: str
    header: str
    show: Show = str
    shared: bool = False
    """Printed once for all rows of a group (see `grid`)."""
    of_row: Callable[[Mapping[str, Any]], str] | None = None
    """How the cell is written where that depends on the whole row."""


@dataclass(frozen=True)
class Cell:
    key: str
    text: str
    value: str
    numeric: bool
    span: int = 1


@dataclass(frozen=True)
class Grid:
    """A table ready to print. `name` is also its CSV file's name without suffix."""

    name: str
    title: str
    headers: tuple[tuple[str, bool], ...]
    """(text, numeric) of each column."""
    rows: tuple[tuple[Cell, ...], ...]

    def whole_rows(self) -> Iterator[tuple[Cell, ...]]:
        """Rows with every cell: one that spans several rows is repeated on each."""
        held: dict[str, Cell] = {}
        order = [cell.key for cell in self.rows[0]] if self.rows else []
        for row in self.rows:
            held |= {cell.key: cell for cell in row}
            yield tuple(held[key] for key in order)


def shown(value: Any) -> str:
    """A value of unknown kind: text as it is, whole numbers with thousands apart, others with three digits."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value)
    return number(value) if isinstance(value, float) else str(value)


def whole(value: int | None) -> str:
    """A count; an en dash where there is none."""
    return "–" if value is None else count(value)


def share(value: float | None) -> str:
    """A share in percent; one above 0 is never written as none.

    >>> share(3 / 6980), share(0.0), share(0.0005)
    ('< 0.1 %', '0.0 %', '0.1 %')
    """
    return "< 0.1 %" if value is not None and 0 < value < 0.0005 else percent(value)


def grid(name: str, title: str, frame: pl.DataFrame, columns: Sequence[Column], group: str | None = None) -> Grid:
    """`frame` as a table; `group` names the column whose equal neighbours share one cell in `shared` columns."""
    present = [column for column in columns if column.key in frame.columns and _filled(frame[column.key])]
    keys = frame[group].to_list() if group else list(range(len(frame)))
    rows = []
    for index, record in enumerate(frame.iter_rows(named=True)):
        begins = index == 0 or keys[index] != keys[index - 1]
        span = _run(keys, index) if group else 1
        rows.append(
            tuple(
                _cell(column, record, frame.schema[column.key], span if column.shared else 1)
                for column in present
                if begins or not column.shared
            )
        )
    headers = tuple((column.header, frame.schema[column.key].is_numeric()) for column in present)
    return Grid(name, title, headers, tuple(rows))


def default_table(name: str, title: str, frame: pl.DataFrame) -> Grid:
    """A table with every column that holds something, under its own name."""
    return grid(name, title, frame, every_column(frame))


def every_column(frame: pl.DataFrame) -> list[Column]:
    """All columns of a frame under their own names."""
    return [Column(key, key.replace("_", " "), shown) for key in frame.columns]


def _cell(column: Column, record: Mapping[str, Any], kind: pl.DataType, span: int) -> Cell:
    value = record[column.key]
    text = column.of_row(record) if column.of_row else column.show(value)
    return Cell(column.key, text, exact(value), kind.is_numeric(), span)


def exact(value: Any) -> str:
    """A value with all its digits, as the CSV has it: empty where there is none, or none that is finite."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def _filled(values: pl.Series) -> bool:
    return len(values) > values.null_count()


def _run(keys: list[Any], start: int) -> int:
    end = start
    while end < len(keys) and keys[end] == keys[start]:
        end += 1
    return end - start
