"""CSV for people's spreadsheets: a text that one would run as a formula is written so that it does not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import IO

import polars as pl

_UNSEEN = "[\\s\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]"
"""Spaces, and signs that are not shown, which some spreadsheets drop."""
_RUNS = f"^{_UNSEEN}*[=+\\-@\\t\\r\uff1d\uff0b\uff0d\uff20\u2212]"
"""What a spreadsheet takes for the beginning of a formula (OWASP, CSV Injection), the full-width signs among them."""
_NUMBER = r"^[-+]?\d+([.,]\d+)?([eE][-+]?\d+)?$"


def defused(frame: pl.DataFrame) -> pl.DataFrame:
    """The table with an apostrophe before each text, and each column's name, that a spreadsheet would run.

    Texts that are plain numbers stay as they are, and so do columns of numbers.

    >>> defused(pl.DataFrame({"class": ["=1+1", "@x", "-5", "norm"], "n": [-1, 2, 3, 4]}))["class"].to_list()
    ["'=1+1", "'@x", '-5', 'norm']
    """
    texts = [pl.col(name) for name, kind in frame.schema.items() if kind == pl.String]
    runs = [text.str.contains(_RUNS) & ~text.str.contains(_NUMBER) for text in texts]
    frame = frame.with_columns(
        pl.when(run).then(pl.concat_str(pl.lit("'"), text)).otherwise(text).name.keep()
        for run, text in zip(runs, texts, strict=True)
    )
    return frame.rename({name: defused_text(name) for name in frame.columns})


def defused_text(text: str) -> str:
    """One text as `defused` writes it.

    >>> defused_text("=HYPERLINK(1)"), defused_text("+5")
    ("'=HYPERLINK(1)", '+5')
    """
    return f"'{text}" if re.match(_RUNS, text) and not re.match(_NUMBER, text) else text


def write_csv(frame: pl.DataFrame, file: Path | IO[bytes]) -> None:
    """Write the defused table as CSV (RFC 4180).

    Where a text holds a separator of another country's spreadsheets (a semicolon, a tab), all texts are in quotes: such
    a spreadsheet would else begin a cell within it, and run that.
    """
    frame = defused(frame)
    frame.write_csv(file, quote_style="non_numeric" if _has_separators(frame) else "necessary")


def csv_text(frame: pl.DataFrame) -> str:
    """The same as text."""
    frame = defused(frame)
    return frame.write_csv(quote_style="non_numeric" if _has_separators(frame) else "necessary")


def _has_separators(frame: pl.DataFrame) -> bool:
    texts = [pl.col(name) for name, kind in frame.schema.items() if kind == pl.String]
    found = frame.select(text.str.contains("[;\t]").any().name.keep() for text in texts)
    return any(re.search("[;\t]", name) for name in frame.columns) or any(map(any, found.rows()))
