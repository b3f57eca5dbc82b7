"""A set's folder → one row an image, with the columns its recipe names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from advassay.sources.opened import LEFT_OUT
from advassay.sources.recipes.finding import files_in, is_image
from advassay.sources.recipes.joining import join_list, join_table, join_texts
from advassay.sources.recipes.recipe_spec import Flag, Layout

_OLDEST = 120


def read_layout(layout: Layout, folder: Path, argument: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(rows, left out): rows have `path` and the layout's columns, text unless `layout` makes numbers of them.

    Left out are images whose path is none of the set's. Raises SourceError for a missing folder or table.
    """
    paths = files_in(folder, argument)
    images = [path for path in paths if is_image(path)]
    return add_columns(pl.DataFrame({"path": images}, schema={"path": pl.String}), layout, folder, paths)


def add_columns(
    rows: pl.DataFrame, layout: Layout, folder: Path, paths: Sequence[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`rows` (with a column `path`) that belong to the set, with its columns added; and those that do not belong.

    `paths`: all files of the folder.
    """
    pattern = re.compile(layout.files)
    matches = [pattern.fullmatch(path) for path in rows["path"]]
    belongs = pl.Series([match is not None for match in matches], dtype=pl.Boolean)
    groups = [match.groupdict() for match in matches if match]
    named = pl.DataFrame(groups, schema=dict.fromkeys(pattern.groupindex, pl.String))
    kept = rows.filter(belongs).drop(named.columns, strict=False)
    if named.columns:
        kept = pl.concat([kept, named], how="horizontal")
    return _joined(kept, layout, folder, paths), _strange(rows.filter(~belongs))


def _joined(rows: pl.DataFrame, layout: Layout, folder: Path, paths: Sequence[str]) -> pl.DataFrame:
    for table in layout.tables:
        rows = join_table(rows, table, folder, paths)
    for listed in layout.lists:
        rows = join_list(rows, listed, folder, paths)
    if layout.beside:
        rows = join_texts(rows, layout.beside, folder, paths)
    rows = rows.with_columns(_renamed(name, names) for name, names in layout.values.items())
    rows = rows.with_columns(_number(name) for name in layout.numbers)
    if layout.ages:
        rows = rows.with_columns(_age(layout.ages.born, layout.ages.seen))
    return rows.with_columns(_flag(name, flag) for name, flag in layout.flags.items())


def _strange(rows: pl.DataFrame) -> pl.DataFrame:
    row = pl.col("row") if "row" in rows.columns else pl.lit(None, pl.UInt32)
    reason, detail = pl.lit("not of the set"), pl.lit("its path does not fit the set's layout")
    return rows.with_columns(row=row, reason=reason, detail=detail).select(*LEFT_OUT).cast(LEFT_OUT)  # type: ignore[arg-type]


def _renamed(name: str, names: dict[str, str]) -> pl.Expr:
    lower = {old.lower(): new for old, new in names.items()}
    renamed = pl.col(name).str.strip_chars().str.to_lowercase().replace_strict(lower, default=None)
    return pl.coalesce(renamed, name).alias(name)


def _number(name: str) -> pl.Expr:
    number = pl.col(name).cast(pl.String).str.extract(r"(\d{1,9})").cast(pl.Int64)
    return _sensible(number, name)


def _age(born: str, seen: str) -> pl.Expr:
    years = [pl.col(name).str.extract(r"^\s*(\d{4})").cast(pl.Int64) for name in (seen, born)]
    return _sensible(years[0] - years[1], "age")


def _sensible(number: pl.Expr, name: str) -> pl.Expr:
    """An age beyond a human one is unknown, not old."""
    if name != "age":
        return number.alias(name)
    return pl.when(number.is_between(0, _OLDEST)).then(number).alias("age")


def _flag(name: str, flag: Flag) -> pl.Expr:
    found = pl.col(flag.column).str.contains(flag.pattern)
    stated = pl.when(found).then(pl.lit("present")).otherwise(pl.lit("absent"))
    return pl.when(pl.col(flag.column).is_not_null()).then(stated).alias(name)
