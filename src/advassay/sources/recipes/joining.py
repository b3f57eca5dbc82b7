"""Tables, lists and texts of a set → columns of its images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import polars as pl

from advassay.errors import SourceError
from advassay.sources.recipes.finding import matching
from advassay.sources.recipes.openi import read_openi
from advassay.sources.recipes.recipe_spec import Beside, Joined, Listed

_MOST_TEXT = 1 << 20
"""1 MiB: a reading beside an image is a few lines."""
_KEY = "__key"


def join_table(rows: pl.DataFrame, table: Joined, folder: Path, paths: Sequence[str]) -> pl.DataFrame:
    """`rows` with the table's columns; where a column is there already, only its gaps are filled.

    Raises SourceError for a needed table that is missing or lacks a column.
    """
    found = matching(paths, table.path)
    if not found:
        if table.needed:
            raise SourceError(
                f"recipe: {table.path} is needed, found no such file in {folder}.", "See `advassay datasets check`."
            )
        return _with_empty(rows, table.columns)
    given = _one_row_each(read_set_table(folder, found, table), table)
    keyed = rows.with_columns(_key_of(pl.col("path"), table.key_is).alias(_KEY))
    joined = keyed.join(given.rename({name: f"__new {name}" for name in table.columns}), on=_KEY, how="left").drop(_KEY)
    return joined.with_columns(_filled(rows, name) for name in table.columns).drop(pl.selectors.starts_with("__new "))


def read_set_table(folder: Path, paths: Sequence[str], table: Joined) -> pl.DataFrame:
    """The table's columns under our names, as text, and `__key`. Raises SourceError where one is missing."""
    frame = read_openi(folder, paths) if table.reader == "openi" else read_text_table(folder / paths[0])
    missing = [name for name in (table.key, *table.columns.values()) if name not in frame.columns]
    if missing:
        raise SourceError(f"{paths[0]}: columns {', '.join(missing)} are needed, found {', '.join(frame.columns)}.")
    columns = [pl.col(theirs).alias(ours) for ours, theirs in table.columns.items()]
    return frame.select(pl.col(table.key).alias(_KEY), *columns)


def read_text_table(path: Path) -> pl.DataFrame:
    """A CSV, plain or gzipped, with all its values as trimmed text. Raises SourceError where it is no such table."""
    try:
        frame = pl.read_csv(path, infer_schema=False)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        problem = f"{path.name}: a readable CSV table is needed ({type(error).__name__})."
        raise SourceError(problem, "Get the file again from where the set is published.") from error
    frame = frame.rename({name: name.lstrip("\ufeff").strip() for name in frame.columns})
    text = pl.col(pl.String).str.strip_chars()
    return frame.with_columns(pl.when(text != "").then(text))


def join_list(rows: pl.DataFrame, listed: Listed, folder: Path, paths: Sequence[str]) -> pl.DataFrame:
    """`rows` with `listed.value` in `listed.column` for each image that the file names; the file need not be there."""
    names: set[str] = set()
    for path in matching(paths, listed.path)[:1]:
        lines = (folder / path).read_text(encoding="utf-8", errors="replace").splitlines()
        names = {PurePosixPath(line.strip()).name for line in lines if line.strip()}
    named = _key_of(pl.col("path"), "name").is_in(list(names))
    value = pl.when(named).then(pl.lit(listed.value)).otherwise(pl.lit(None, pl.String))
    if listed.column in rows.columns:
        value = pl.coalesce(value, listed.column)
    return rows.with_columns(value.alias(listed.column))


def join_texts(rows: pl.DataFrame, beside: Beside, folder: Path, paths: Sequence[str]) -> pl.DataFrame:
    """`rows` with what the text beside each image says; no value where there is no text or it does not say."""
    texts = {PurePosixPath(path).name: path for path in matching(paths, beside.path.replace("{stem}", "*"))}
    name = PurePosixPath(beside.path).name
    found = []
    for stem in rows.select(_key_of(pl.col("path"), "stem"))["path"]:
        path = texts.get(name.replace("{stem}", stem))
        text = _text(folder / path) if path else ""
        found.append([_first_group(pattern, text) for pattern in beside.columns.values()])
    columns = pl.DataFrame(found, schema=dict.fromkeys(beside.columns, pl.String), orient="row")
    return pl.concat([rows.drop(columns.columns, strict=False), columns], how="horizontal")


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_MOST_TEXT)
    except OSError:
        return ""


def _first_group(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text, re.IGNORECASE | re.MULTILINE)
    return match.group(1).strip() if match else None


def _key_of(path: pl.Expr, kind: str) -> pl.Expr:
    if kind == "path":
        return path
    name = path.str.split("/").list.last()
    return name if kind == "name" else name.str.replace(r"\.[^.]*$", "")


def _one_row_each(given: pl.DataFrame, table: Joined) -> pl.DataFrame:
    if table.several == "first":
        return given.unique(_KEY, keep="first", maintain_order=True)
    votes = [pl.col(name).cast(pl.Float64, strict=False).mean() for name in table.columns]
    ones = [pl.when(vote.is_not_null()).then((vote > 0.5).cast(pl.Int8).cast(pl.String)) for vote in votes]
    return given.group_by(_KEY, maintain_order=True).agg(ones)


def _filled(rows: pl.DataFrame, name: str) -> pl.Expr:
    new = pl.col(f"__new {name}")
    return (pl.coalesce(pl.col(name).cast(pl.String), new) if name in rows.columns else new).alias(name)


def _with_empty(rows: pl.DataFrame, columns: dict[str, str]) -> pl.DataFrame:
    return rows.with_columns(pl.lit(None, pl.String).alias(name) for name in columns if name not in rows.columns)
