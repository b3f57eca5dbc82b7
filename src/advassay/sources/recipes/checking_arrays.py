"""Sets kept as arrays: MedMNIST's .npz files, PCam's HDF5."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from advassay.errors import SourceError
from advassay.sources.hdf5_source import open_hdf5
from advassay.sources.npz_source import SPLITS, open_npz
from advassay.sources.recipes.finding import matching
from advassay.sources.recipes.findings import Finding, counted
from advassay.sources.recipes.recipe_spec import ExpectedFile, Recipe
from advassay.specs import Hdf5Source, NpzSource


def npz_findings(recipe: Recipe, folder: Path, paths: list[str]) -> tuple[int, list[Finding]]:
    """The largest number of images in one of the set's files (each size holds all), and what each file has."""
    largest = 0
    findings: list[Finding] = []
    for file in recipe.expected.files:
        for path in matching(paths, file.path):
            images, found = _npz(file, folder / path)
            largest, findings = max(largest, images), [*findings, *found]
    if not findings:
        names = ", ".join(file.path for file in recipe.expected.files)
        findings = [Finding("missing", "files", "a file of any size", "none", names)]
    return largest, findings


def _npz(file: ExpectedFile, path: Path) -> tuple[int, list[Finding]]:
    try:
        rows = open_npz(path.name, NpzSource(kind="npz", path=path.name), path).rows
    except SourceError as error:
        return 0, [Finding("missing", "images", path.name, error.problem)]
    found = dict(rows["split"].value_counts().iter_rows())
    return rows.height, [
        counted("images", f"{path.name}: {part}", found.get(SPLITS[part], 0), published)
        for part, published in file.images.items()
    ]


def hdf5_findings(recipe: Recipe, source: Hdf5Source, folder: Path) -> tuple[pl.DataFrame, list[Finding]]:
    """The set's rows (none where its files do not open), and why they do not."""
    try:
        return open_hdf5(recipe.name, source, folder).rows, []
    except SourceError as error:
        columns = dict.fromkeys(["label", "split"], pl.String)
        return pl.DataFrame(schema=columns), [Finding("missing", "images", "arrays", error.problem)]
