"""What a path seems to be, so that a starter study can be written for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import polars as pl

from advassay.errors import SourceError
from advassay.sources.file_sources import SUFFIXES, open_folder
from advassay.sources.npz_source import open_npz
from advassay.sources.tables import read_table
from advassay.specs import FolderSource, NpzSource, Scalar

_IMAGE_NAMES = ("image", "path", "file", "filename", "image_path", "file_name", "image_index")
_LABEL_NAMES = (
    "label",
    "class",
    "class_name",
    "diagnosis",
    "target",
    "finding",
    "findings",
    "finding_labels",
    "category",
)
_PATIENT_NAMES = ("patient_id", "patient", "patientid", "subject_id", "subject", "case_id", "group_id", "slide_id")
_MOST_CLASSES = 20


@dataclass(frozen=True)
class SourceDescription:
    """A guess for a human to check: kind of source, the columns that seem to matter, classes with counts."""

    kind: Literal["table", "folder", "npz"]
    path: Path
    images: int
    columns: tuple[str, ...] = ()
    image_column: str | None = None
    label_column: str | None = None
    patient_column: str | None = None
    classes: dict[Scalar, int] = field(default_factory=dict)
    """Label, of the column's own type → images, most frequent first; empty where no column looks like a label."""


def describe(path: Path) -> SourceDescription:
    """Say what `path` seems to be: a folder per class, a table with a column of image paths, or a MedMNIST .npz.

    Raises SourceError if it is none of these.
    """
    if path.is_dir():
        rows = open_folder("images", FolderSource(kind="folder", path=path.name), path).rows
        return SourceDescription("folder", path, rows.height, ("label",), None, "label", None, _counts(rows["label"]))
    if path.suffix.lower() == ".npz":
        rows = open_npz("images", NpzSource(kind="npz", path=path.name), path).rows
        return SourceDescription(
            "npz", path, rows.height, ("label", "split"), None, "label", None, _counts(rows["label"])
        )
    return _describe_table(path)


def _describe_table(path: Path) -> SourceDescription:
    table = read_table(path)
    image = _image_column(table)
    if image is None:
        raise SourceError(
            f"path: a table with a column of image paths (ending in {', '.join(SUFFIXES)}) is needed, got {path}.",
            f"There are: {table.columns}.",
        )
    label = _label_column(table, image)
    return SourceDescription(
        kind="table",
        path=path,
        images=table[image].drop_nulls().len(),
        columns=tuple(table.columns),
        image_column=image,
        label_column=label,
        patient_column=_named(table, _PATIENT_NAMES),
        classes=_counts(table[label]) if label else {},
    )


def _image_column(table: pl.DataFrame) -> str | None:
    looks = [
        name
        for name in table.columns
        if table[name].dtype == pl.String and table[name].drop_nulls().len() and _share_of_images(table[name]) > 0.5
    ]
    named = _named(table.select(looks), _IMAGE_NAMES) if looks else None
    return named or (looks[0] if looks else None)


def _share_of_images(column: pl.Series) -> float:
    ending = "(?i)(" + "|".join(suffix.replace(".", r"\.") for suffix in SUFFIXES) + ")$"
    return float(column.drop_nulls().str.contains(ending).mean())  # type: ignore[arg-type]


def _label_column(table: pl.DataFrame, image: str) -> str | None:
    rest = table.drop(image)
    usable = [
        name
        for name in rest.columns
        if _can_be_ruled(rest[name]) and 2 <= rest[name].drop_nulls().n_unique() <= _MOST_CLASSES
    ]
    return _named(rest.select(usable), _LABEL_NAMES) if usable else None


def _can_be_ruled(column: pl.Series) -> bool:
    """Whether a study file can name the column's values: texts, numbers, truth values."""
    return column.dtype in (pl.String, pl.Boolean, pl.Categorical, pl.Enum) or (
        column.dtype.is_integer() or column.dtype.is_float()
    )


def _named(table: pl.DataFrame, names: tuple[str, ...]) -> str | None:
    """The first column, in the order of `names`, that bears one of them and is not empty."""
    by_name = {name.strip().lower().replace(" ", "_"): name for name in table.columns}
    known = (by_name[name] for name in names if name in by_name)
    return next((column for column in known if table[column].drop_nulls().len()), None)


def _counts(column: pl.Series) -> dict[Scalar, int]:
    given = column.drop_nans() if column.dtype.is_float() else column
    counts = given.drop_nulls().value_counts(sort=True)
    ordered = counts.sort(["count", column.name], descending=[True, False])
    return dict(ordered.iter_rows())
