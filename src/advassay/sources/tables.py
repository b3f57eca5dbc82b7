"""A CSV or Parquet table as columns with types, its ids kept as text."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from advassay.errors import SourceError

_WHOLE = r"^-?(0|[1-9]\d*)$"  # "007" is an id, not the number 7
_NUMBER = r"^-?(0|[1-9]\d{0,15})?(\.\d*)?([eE][+-]\d+)?$"  # and so are "12E3" and numbers a float cannot hold
_ID = re.compile(r"(?i:(^|_)u?id$|(study|series|instance|image|patient|frame|class)uid$)|[a-z]UID$")
_TRUTH = {"true": True, "false": False}


def read_table(path: Path, text: frozenset[str] = frozenset()) -> pl.DataFrame:
    """Read a .csv, .tsv or .parquet file.

    Text is trimmed and empty text is null; nested and binary Parquet columns are not read. A CSV column becomes
    numbers (or true/false) only if every value is one and nothing would be lost by it; columns named in `text` and
    ids (`id`, `*_id`, `*_uid`, DICOM's `…UID`) always stay text.
    Raises SourceError if the file is missing, is not such a table or is not UTF-8.
    """
    if not path.is_file():
        raise SourceError(f"path: an existing table is needed, got {path}.", "Check the path and --data.")
    try:
        if path.suffix.lower() == ".parquet":
            return _trimmed(_flat(pl.read_parquet(path)))
        frame = _trimmed(_read_text(path))
    except (pl.exceptions.PolarsError, UnicodeDecodeError, OSError) as error:
        raise SourceError(
            f"path: a readable CSV (UTF-8) or Parquet table is needed, got {path} ({_first_line(error)}).",
            "Save it again as UTF-8 CSV with one header line and the same number of fields in every line.",
        ) from error
    return frame.with_columns(_typed(frame[name]) for name in frame.columns if name not in text and not is_id(name))


def is_id(column: str) -> bool:
    """Whether a column's name says that it holds identifiers.

    >>> [is_id(name) for name in ("slide_id", "Patient ID", "StudyInstanceUID", "image uid", "age", "pleural_fluid")]
    [True, True, True, True, False, False]
    """
    return bool(_ID.search(column.strip().replace(" ", "_")))


def _read_text(path: Path) -> pl.DataFrame:
    with path.open(encoding="utf-8-sig") as file:
        header = file.readline()
    separator = max(",;\t", key=header.count)
    return pl.read_csv(path, separator=separator, infer_schema=False)


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(name for name, dtype in frame.schema.items() if not (dtype.is_nested() or dtype == pl.Binary))


def _trimmed(frame: pl.DataFrame) -> pl.DataFrame:
    names = {name: name.lstrip("\ufeff").strip() for name in frame.columns}
    text = pl.col(pl.String).str.strip_chars()
    return frame.rename(names).with_columns(pl.when(text != "").then(text))


def _typed(column: pl.Series) -> pl.Series:
    given = column.drop_nulls()
    if given.is_empty():
        return column
    if given.str.contains(_WHOLE).all() and given.str.len_chars().max() <= 18:  # type: ignore[operator]
        return column.cast(pl.Int64)
    if given.str.contains(_NUMBER).all() and given.str.contains(r"\d").all():
        return column.cast(pl.Float64)
    if given.str.to_lowercase().is_in(list(_TRUTH)).all():
        return column.str.to_lowercase().replace_strict(_TRUTH, return_dtype=pl.Boolean)
    return column


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
