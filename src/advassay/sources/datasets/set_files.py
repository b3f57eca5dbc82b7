"""Files, tables, lists and report texts of a data set → one row an image, with the columns its card names."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from fnmatch import translate
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import polars as pl

from advassay.errors import SourceError
from advassay.sources.base import LEFT_OUT
from advassay.sources.datasets.dataset_card import Flag, Layout, ListFile, SidecarText, TableJoin
from advassay.sources.file_paths import is_text

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".dicom")


def files_in(folder: Path, argument: str) -> list[str]:
    """Paths of all files below `folder`, with `/`, in a fixed order; hidden ones (and macOS's doubles) are passed over.

    Links to folders are not followed. Raises SourceError where the folder is missing or cannot be listed.
    """
    if not folder.is_dir():
        raise SourceError(f"{argument}: no such folder: {folder}.", "Check it and --data.")

    def refuse(error: OSError) -> None:
        raise SourceError(f"{argument}: expected folders that can be listed, got {error.filename}.", str(error))

    found = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = os.path.relpath(parent, folder)
        found += [name if below == "." else f"{below}/{name}" for name in sorted(names) if not name.startswith(".")]
    return [path for path in found if is_text(path)]  # a name that no table can hold is no file of a published set


def matching(paths: Sequence[str], pattern: str) -> list[str]:
    """Those of `paths` that end in `pattern`, whatever folders are in front; `*` stands for any characters.

    >>> matching(["a/lists/train.txt", "lists/val.txt", "blists/train.txt"], "lists/*.txt")
    ['a/lists/train.txt', 'lists/val.txt']
    """
    whole = re.compile(translate(f"*/{pattern}"))
    return [path for path in paths if whole.match(f"/{path}")]


def is_image(path: str) -> bool:
    return path.lower().endswith(IMAGE_ENDINGS)


_MOST_BYTES = 1 << 20
COLUMNS = {"image": pl.String, "report_id": pl.String, "mesh": pl.String}


def read_openi(folder: Path, paths: Sequence[str]) -> pl.DataFrame:
    """One row an image: image, report_id, mesh (headings with "; " between). A file that is no report gives no row."""
    rows = [row for path in paths for row in _rows(folder / path)]
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


def _rows(path: Path) -> list[tuple[str, str | None, str | None]]:
    try:
        data = path.read_bytes()
        # A document type could define entities that swell; the collection has none.
        if len(data) > _MOST_BYTES or b"<!DOCTYPE" in data or b"<!ENTITY" in data:
            return []
        report = ElementTree.fromstring(data)
    except (OSError, ElementTree.ParseError):
        return []
    named = report.find("uId")
    mesh = "; ".join(text for heading in report.iterfind("MeSH/major") if (text := (heading.text or "").strip()))
    report_id = None if named is None else named.get("id")
    return [(image.get("id") or "", report_id, mesh or None) for image in report.iterfind("parentImage")]


_MOST_TEXT = 1 << 20
"""1 MiB: a reading beside an image is a few lines."""
_KEY = "__key"


def join_table(rows: pl.DataFrame, table: TableJoin, folder: Path, paths: Sequence[str]) -> pl.DataFrame:
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


def read_set_table(folder: Path, paths: Sequence[str], table: TableJoin) -> pl.DataFrame:
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


def join_list(rows: pl.DataFrame, listed: ListFile, folder: Path, paths: Sequence[str]) -> pl.DataFrame:
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


def join_texts(rows: pl.DataFrame, beside: SidecarText, folder: Path, paths: Sequence[str]) -> pl.DataFrame:
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


def _one_row_each(given: pl.DataFrame, table: TableJoin) -> pl.DataFrame:
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
