"""Heights and widths of a few images of a source, from what files declare: nothing is decoded."""

from __future__ import annotations

import warnings
from pathlib import Path

import polars as pl
from PIL import Image

from advassay.sources.npz_source import NpzArrays
from advassay.sources.opened import FileSource, OpenSource

LOOKED_AT = 64


def declared_sizes(opened: OpenSource, rows: pl.Series) -> list[tuple[int, int]]:
    """(height, width) of up to 64 of `rows`, spread evenly; empty where a source does not declare them."""
    wanted = rows.gather_every(max(1, -(-rows.len() // LOOKED_AT)))
    if isinstance(opened, NpzArrays):
        return [opened.declared_size(row) for row in wanted]
    if not isinstance(opened, FileSource) or opened.root is None:
        return []
    paths = opened.rows.filter(pl.col("row").is_in(wanted.implode()))["path"].drop_nulls()
    sizes = (_size_of(opened.root / path) for path in paths)
    return [size for size in sizes if size is not None]


def _size_of(path: Path) -> tuple[int, int] | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG", "JPEG", "TIFF")) as image:
                return image.height, image.width
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # whatever a broken header makes of it
        return None
