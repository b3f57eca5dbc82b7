"""Compare a folder with the published set: what is missing, what differs, what the recipe can read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from advassay.errors import SourceError
from advassay.progress import Progress, Silent
from advassay.sources.recipes.checking_arrays import hdf5_findings, npz_findings
from advassay.sources.recipes.checking_files import file_findings
from advassay.sources.recipes.checking_images import layout_findings
from advassay.sources.recipes.finding import files_in
from advassay.sources.recipes.findings import Check, Finding, counted
from advassay.sources.recipes.layout import read_layout
from advassay.sources.recipes.recipe_spec import Layout, Recipe
from advassay.specs import Hdf5Source, NpzSource

SLIDE_ENDINGS = (".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".vms")


def check(recipe: Recipe, folder: Path, progress: Progress | None = None) -> Check:
    """Compare `folder` with what `recipe` says of the published set. No image is decoded; a few headers are read.

    Raises SourceError where the folder is missing or cannot be listed; everything else is a finding.
    """
    paths = files_in(folder, "datasets check")
    findings = list(file_findings(recipe.expected, folder, paths, progress or Silent()))
    images, more = _images(recipe, folder, paths)
    return Check(recipe.name, images, recipe.expected.images, (*findings, *more))


def _images(recipe: Recipe, folder: Path, paths: list[str]) -> tuple[int, list[Finding]]:
    if recipe.layout is not None:
        rows, strange = read_layout(_without_missing(recipe.layout, folder, paths), folder, "datasets check")
        return rows.height, [*_counts(recipe, rows), *layout_findings(recipe.expected, rows, strange, folder, paths)]
    (source,) = recipe.sources.values()
    if isinstance(source, NpzSource):
        return npz_findings(recipe, folder, paths)
    if isinstance(source, Hdf5Source):
        rows, findings = hdf5_findings(recipe, source, folder)
        return rows.height, [*findings, *_counts(recipe, rows)]
    slides = [path for path in paths if path.lower().endswith(SLIDE_ENDINGS)]
    return len(slides), [counted("images", "slides", len(slides), recipe.expected.images)]


def _counts(recipe: Recipe, rows: pl.DataFrame) -> Iterator[Finding]:
    yield counted("images", "images", rows.height, recipe.expected.images)
    if rows.is_empty():
        return
    for column, values in recipe.expected.classes.items():
        if column not in rows.columns:
            yield Finding("missing", "columns", column, "no such column")
            continue
        numbers = dict(rows[column].cast(pl.String).value_counts().iter_rows())
        for value, published in values.items():
            yield counted("classes", f"{column}: {value}", numbers.get(value, 0), published)
        if None in numbers:
            yield Finding("note", "classes", f"{column}: not stated", f"{numbers[None]:,}")


def _without_missing(layout: Layout, folder: Path, paths: list[str]) -> Layout:
    """The layout with only those of its tables that can be read: the others are findings already."""
    from advassay.sources.recipes.finding import matching
    from advassay.sources.recipes.joining import read_set_table

    usable = []
    for table in layout.tables:
        found = matching(paths, table.path)
        try:
            if found:
                read_set_table(folder, found, table)
        except SourceError:
            found = []
        usable.append(table if found else table.model_copy(update={"needed": False, "path": "/"}))
    return layout.model_copy(update={"tables": tuple(usable)})
