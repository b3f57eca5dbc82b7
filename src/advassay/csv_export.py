"""CSV for people's spreadsheets: a text that one would run as a formula is written so that it does not."""

from __future__ import annotations

import re

import polars as pl

_RUNS = r"^\s*[=+\-@\t\r]"
"""What a spreadsheet takes for the beginning of a formula (OWASP, CSV Injection)."""
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
