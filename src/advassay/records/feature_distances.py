"""features.parquet of a run of transfer/: how far attacked images lie from the clean ones in the network's features."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable
from pathlib import Path

import polars as pl

from advassay.checked_files import read_frame, write_frame
from advassay.errors import AdvassayWarning, DamagedError
from advassay.records.row_shards import HEALED

FEATURES = "features.parquet"
KEYS = ("image_id", "step_size", "epsilon")
COLUMNS = {
    "image_id": pl.String,
    "step_size": pl.String,
    "epsilon": pl.Float64,
    "feature_noise": pl.Float64,
    "feature_attacked": pl.Float64,
    "feature_same": pl.Float64,
    "feature_other": pl.Float64,
    "pixel_same": pl.Float64,
    "pixel_other": pl.Float64,
}
"""Column → type; records/FORMAT.md says what each is."""


def read_features(folder: Path) -> pl.DataFrame:
    """One row per image × step size × ε; none where nothing was measured. Raises DamagedError."""
    try:
        return read_frame(folder / FEATURES, HEALED).select(*COLUMNS)
    except FileNotFoundError:
        return pl.DataFrame(schema=COLUMNS)


def readable_features(folder: Path) -> pl.DataFrame:
    """As `read_features`; none where the file is damaged."""
    try:
        return read_features(folder)
    except DamagedError:
        return pl.DataFrame(schema=COLUMNS)


def has_damaged_features(folder: Path) -> bool:
    """Whether the file is there and cannot be read."""
    try:
        read_features(folder)
    except DamagedError:
        return True
    return False


def add_features(folder: Path, rows: pl.DataFrame) -> None:
    """Add rows; what is there already stays as it is. A damaged file is renamed out of the way, with a warning."""
    if has_damaged_features(folder):
        path = folder / FEATURES
        path.rename(path.with_name(f"{path.name}.damaged"))
        warnings.warn(f"run {folder.name}: {FEATURES} could not be read; it is written anew.",
                      AdvassayWarning, stacklevel=3)  # fmt: skip
    before = read_features(folder)
    joined = pl.concat([before, rows.select(pl.col(name).cast(kind) for name, kind in COLUMNS.items())])
    joined = joined.unique(list(KEYS), keep="first", maintain_order=True)
    if not joined.equals(before):
        write_frame(folder / FEATURES, joined)


def lacking_features(
    folder: Path, image_ids: Iterable[str], points: frozenset[tuple[str, float]]
) -> dict[str, frozenset[tuple[str, float]]]:
    """image_id → points (step size's name, ε) that have no row, of images that lack any."""
    found: dict[str, set[tuple[str, float]]] = {}
    for image_id, step_size, epsilon in readable_features(folder).select(*KEYS).iter_rows():
        found.setdefault(image_id, set()).add((step_size, epsilon))
    lacking = {image_id: frozenset(points - found.get(image_id, set())) for image_id in image_ids}
    return {image_id: rest for image_id, rest in lacking.items() if rest}


def remove_features(folder: Path, image_ids: Collection[str]) -> None:
    """Take the rows of images out; a damaged file, which may hold them, is removed."""
    if not (folder / FEATURES).exists():
        return
    if has_damaged_features(folder):
        (folder / FEATURES).unlink()
        return
    before = read_features(folder)
    kept = before.filter(~pl.col("image_id").is_in(list(image_ids)))
    if len(kept) < len(before):
        write_frame(folder / FEATURES, kept)
