"""File names as text, and whether the files that a table names exist."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from advassay.errors import SourceError
from advassay.sources.base import FileSource, OpenSource

NOT_UTF8 = ("file name is not UTF-8", "no table can hold it; rename the file")
"""(reason, detail) for leaving such a file out."""


def is_text(name: str) -> bool:
    """Whether a name, as Python lists it, is UTF-8.

    >>> is_text("Herz.png"), is_text(os.fsdecode(b"Herz\\xf6l.png"))
    (True, False)
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_text(name: str) -> str:
    """The name with `\\xf6` in place of each byte that is not UTF-8; a text as it is.

    >>> as_text(os.fsdecode(b"Herz\\xf6l.png"))
    'Herz\\\\xf6l.png'
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class MissingFiles:
    """How many of `files` files do not exist, and where the first of them should be. The path is private."""

    count: int
    files: int
    first: Path

    @property
    def all(self) -> bool:
        """Whether no file exists."""
        return self.count == self.files


def missing_files(opened: OpenSource, rows: pl.Series) -> MissingFiles | None:
    """Which files of `rows` do not exist; None where all do, and for sources whose images are not files of a table."""
    if not isinstance(opened, FileSource) or opened.root is None:
        return None
    paths = opened.rows.filter(pl.col("row").is_in(rows.implode()))["path"].drop_nulls().to_list()
    lost = [path for path in paths if not os.path.exists(os.path.join(opened.root, path))]
    return MissingFiles(len(lost), len(paths), opened.root / lost[0]) if lost else None


def require_files(opened: OpenSource, rows: pl.Series) -> MissingFiles | None:
    """`missing_files`. Raises SourceError where not one of the files exists; its message shows where one should be."""
    lost = missing_files(opened, rows)
    if lost is not None and lost.all:
        raise SourceError(
            f"sources.{opened.name}: expected files that exist, got none of {lost.files:,}; the first missing one is "
            f"{lost.first}.",
            "Check the paths in the source, `images` and --data.",
        )
    return lost
