"""Where images lie, how large they are, and tables beside them that the recipe does not know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from advassay.errors import SourceError
from advassay.sources.header import Header, read_header
from advassay.sources.recipes.finding import matching
from advassay.sources.recipes.findings import Finding, Status
from advassay.sources.recipes.recipe_spec import Expected

_LOOKED_AT = 20
"""Images whose header is read: enough to see that a set was resized."""


def layout_findings(
    expected: Expected, rows: pl.DataFrame, strange: pl.DataFrame, folder: Path, paths: Sequence[str]
) -> Iterator[Finding]:
    """Findings about the images' folders and sizes. `strange`: images that are no part of the set."""
    if rows.height:
        yield from _folders(expected, rows["path"].to_list())
        yield from _sizes(expected, [folder / path for path in rows["path"].gather_every(_step(rows.height))])
    if strange.height:
        yield Finding("note", "layout", "other images", f"{strange.height:,}, which the recipe leaves out")
    yield from _tables(expected, folder, paths)


def _step(images: int) -> int:
    return max(1, -(-images // _LOOKED_AT))


def _folders(expected: Expected, images: Sequence[str]) -> Iterator[Finding]:
    if not expected.folders:
        return
    published = ", ".join(expected.folders)
    if all(any(f"/{folder}" in f"/{path}" for folder in expected.folders) for path in images):
        yield Finding("ok", "layout", "folders of the images", published, published)
        return
    tops = Counter(path.split("/")[0] if "/" in path else "." for path in images)
    found = ", ".join(f"{top}/ ({number:,})" for top, number in tops.most_common(3))
    yield Finding("differs", "layout", "folders of the images", found, published)


def _sizes(expected: Expected, images: Sequence[Path]) -> Iterator[Finding]:
    headers = [read_header(path.read_bytes()) for path in images if path.is_file()]
    sizes = Counter((header.width, header.height) for header in headers if isinstance(header, Header))
    if expected.size_px is None or not sizes:
        return
    found = ", ".join(f"{width} × {height}" for (width, height), _ in sizes.most_common(3))
    status: Status = "ok" if set(sizes) == {expected.size_px} else "differs"
    width, height = expected.size_px
    what = f"pixels of {sum(sizes.values())} images looked at"
    yield Finding(status, "size", what, found, f"{width} × {height}")


def _tables(expected: Expected, folder: Path, paths: Sequence[str]) -> Iterator[Finding]:
    """Tables of images that are no part of the published set: a sample often comes with one."""
    from advassay.sources.describing import describe

    known = {path for file in expected.files if file.needed for path in matching(paths, file.path)}
    for path in paths:
        if "/" in path or path in known or not path.lower().endswith((".csv", ".tsv", ".parquet")):
            continue
        try:
            seen = describe(folder / path)
        except SourceError:
            continue
        columns = ", ".join(seen.columns)
        yield Finding("note", "tables", path, f"a table of {seen.images:,} images; `kind: table` reads it: {columns}")
