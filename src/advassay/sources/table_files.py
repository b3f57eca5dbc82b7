"""A CSV or Parquet table as columns with types, its ids kept as text; a hint for a name that is not there."""

from __future__ import annotations

import difflib
import gzip
import re
import zlib
from collections.abc import Iterable
from pathlib import Path

import polars as pl
import pyarrow as pa

from advassay.errors import SourceError
from advassay.parquet_limits import TooLarge, check_decoded_size, most_decoded
from advassay.sources.delimited_text import Refused, read_delimited


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question that names what of `known` is closest to `name`, with a space after it; empty where nothing is close.

    >>> did_you_mean("lc2500", ["lc25000", "pcam"]), did_you_mean("Sex", ["age", "sex"]), did_you_mean("x", ["age"])
    ("Did you mean 'lc25000'? ", "Did you mean 'sex'? ", '')
    """
    plain = {one.lower(): one for one in reversed(list(known))}
    close = difflib.get_close_matches(name.lower(), plain, n=1)
    return f"Did you mean {plain[close[0]]!r}? " if close else ""


def require_column(columns: list[str], wanted: str, argument: str) -> None:
    """Raise SourceError unless `wanted` is one of `columns`."""
    if wanted not in columns:
        fix = f"{did_you_mean(wanted, columns)}There are: {columns}."
        raise SourceError(f"{argument}: expected one of the columns, got {wanted!r}.", fix)


_WHOLE = r"^-?(0|[1-9]\d*)$"  # "007" is an id, not the number 7
_NUMBER = r"^-?(0|[1-9]\d{0,15})?(\.\d*)?([eE][+-]\d+)?$"  # and so are "12E3" and numbers a float cannot hold
_ID = re.compile(r"(?i:(^|_)u?id$|(study|series|instance|image|patient|frame|class)uid$)|[a-z]UID$")
_TRUTH = {"true": True, "false": False}


_BROKEN = (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException)  # a broken page can panic

MAX_BYTES = 1 << 33
"""8 GiB, decompressed: several times the reports of a city's archive."""
MAX_CELLS = 250_000_000
"""Rows × columns that a Parquet file may declare: it is a few bytes long whatever it declares."""


def read_table(
    path: Path, text: frozenset[str] = frozenset(), encoding: str | None = None, *, nul: bool = True
) -> pl.DataFrame:
    """Read a .csv, .tsv (either also as .gz) or .parquet file.

    encoding: of a text file; None: as its byte order mark says, else UTF-8. Its separator is the comma, semicolon, tab
    or bar that its header holds most of, or what a first line "sep=;" says. nul: whether its text may hold NUL
    characters (a path may, and is a row with a reason then; a report is damaged).

    Text is trimmed and empty text is null; nested and binary Parquet columns are not read. A CSV column becomes
    numbers (or true/false) only if every value is one and nothing would be lost by it; columns named in `text` and
    ids (`id`, `*_id`, `*_uid`, DICOM's `…UID`) always stay text.
    Raises SourceError if the file is missing, is not such a table, is in another encoding (which is named where it can
    be guessed), names a column twice or is larger than the limits above.
    """
    if not path.is_file():
        raise SourceError(f"path: no such table: {path}.", "Check the path and --data.")
    try:
        if path.suffix.lower() == ".parquet":
            return _trimmed(_read_parquet(path))
        frame = _trimmed(_read_text(path, encoding, nul))
    except Refused as refused:
        raise SourceError(f"path: {refused}, got {path}.", refused.fix) from None
    except (*_BROKEN, UnicodeDecodeError, OSError, EOFError, zlib.error, MemoryError) as error:
        raise SourceError(
            f"path: expected a readable CSV (UTF-8) or Parquet table, got {path} ({_first_line(error)}).",
            "Save it again as UTF-8 CSV with one header line and the same number of fields in every line.",
        ) from error
    return frame.with_columns(_typed(frame[name]) for name in frame.columns if name not in text and not is_id(name))


def is_id(column: str) -> bool:
    """Whether a column's name says that it holds identifiers.

    >>> [is_id(name) for name in ("slide_id", "Patient ID", "StudyInstanceUID", "image uid", "age", "pleural_fluid")]
    [True, True, True, True, False, False]
    """
    return bool(_ID.search(column.strip().replace(" ", "_")))


def _read_text(path: Path, encoding: str | None, nul: bool) -> pl.DataFrame:
    if path.suffix.lower() == ".gz":
        return read_delimited(_decompressed(path), encoding, nul=nul)
    if path.stat().st_size > MAX_BYTES:
        raise Refused(f"at most {MAX_BYTES >> 30} GiB")
    return read_delimited(path, encoding, nul=nul)


def _decompressed(path: Path) -> bytes:
    most = min(MAX_BYTES, most_decoded(path.stat().st_size))
    with gzip.open(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise Refused(f"at most {most >> 20:,} MiB once decompressed")
    return data


def _read_parquet(path: Path) -> pl.DataFrame:
    declared = pl.scan_parquet(path, glob=False)
    columns, rows = declared.collect_schema(), declared.select(pl.len()).collect().item()
    if rows * len(columns) > MAX_CELLS:
        raise Refused(f"at most {MAX_CELLS:,} rows × columns are needed, {rows:,} × {len(columns)} are declared")
    flat = [name for name, kind in columns.items() if not (kind.is_nested() or kind == pl.Binary)]
    try:
        check_decoded_size(path, flat)
    except TooLarge as problem:
        raise Refused(str(problem)) from None
    return declared.select(flat).collect()


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
    """What a reader says, without the part of the table that it quotes."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return re.sub(r"`.*", "…", line)[:200]
