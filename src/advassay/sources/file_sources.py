"""Sources whose images are files: a table with a column of paths, a folder per class."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from advassay.errors import SourceError
from advassay.sources.file_names import NOT_UTF8, is_text
from advassay.sources.nearest import did_you_mean
from advassay.sources.opened import LEFT_OUT, FileSource
from advassay.sources.tables import read_table
from advassay.specs import FolderSource, TableSource

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_OWN = ("row", "path", "original_patient")


def open_table(name: str, source: TableSource, path: Path) -> FileSource:
    """Every line of the table with an image path is a candidate; paths are relative to the table's folder.

    A path that leaves the folder is left out. A column `image_type` of the table wins over the source's. Its own
    columns called row, path or original_patient are carried as table_row, …. Raises SourceError for a missing column
    or if no row is left.
    """
    table = read_table(path, text=frozenset({source.image, source.patient_id}))
    require_column(table.columns, source.image, f"sources.{name}.image")
    patient = patient_column(name, source, table.columns)
    frame = _candidates(table, source, patient)
    lost = pl.concat([_without_path(frame), _outside(frame, path.parent)])
    kept = frame.filter(~pl.col("row").is_in(lost["row"].implode()))
    if kept.is_empty():
        raise SourceError(
            f"sources.{name}: at least one row with an image path inside the table's folder is needed, got none of "
            f"{table.height} rows.",
            f"Write the paths in column {source.image!r} relative to {path.parent}.",
        )
    return FileSource(name, kept, lost.sort("row"), patient, path.parent)


def require_column(columns: list[str], wanted: str, argument: str) -> None:
    """Raise SourceError unless `wanted` is one of `columns`."""
    if wanted not in columns:
        fix = f"{did_you_mean(wanted, columns)}There are: {columns}."
        raise SourceError(f"{argument}: one of the columns is needed, got {wanted!r}.", fix)


def patient_column(name: str, source: TableSource | FolderSource, columns: list[str]) -> str | None:
    """The source's patient column; null if it has none and none was asked for by name."""
    if source.patient_id not in columns and source.patient_id == "patient_id":
        return None
    require_column(columns, source.patient_id, f"sources.{name}.patient_id")
    return source.patient_id


def _candidates(table: pl.DataFrame, source: TableSource, patient: str | None) -> pl.DataFrame:
    image = pl.col(source.image).cast(pl.String)
    original = pl.lit(None, pl.String) if patient is None else pl.col(patient).cast(pl.String)
    image_type = pl.lit(source.image_type, pl.String)
    if "image_type" in table.columns:
        image_type = pl.coalesce(pl.col("image_type").cast(pl.String), image_type)
    own = [
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"),
        image.alias("path"),
        original.alias("original_patient"),
        image_type.alias("image_type"),
    ]
    carried = [
        pl.col(column).alias(f"table_{column}" if column in _OWN else column)
        for column in table.columns
        if column not in (source.image, "image_type")
    ]
    return table.select(own + carried)


def _without_path(frame: pl.DataFrame) -> pl.DataFrame:
    return _lost(frame.filter(pl.col("path").is_null()), "no image path", "the image column is empty")


def _outside(frame: pl.DataFrame, folder: Path) -> pl.DataFrame:
    roots = {os.path.abspath(folder), os.path.realpath(folder)}

    def leaves(path: str) -> bool:
        return not any(Path(os.path.normpath(os.path.join(root, path))).is_relative_to(root) for root in roots)

    may_leave = pl.col("path").str.contains(r"^/|(^|/)\.\.(/|$)")  # of millions of paths, only these are looked at
    outside = frame.filter(may_leave).filter(pl.col("path").map_elements(leaves, return_dtype=pl.Boolean))
    return _lost(outside, "outside the folder", "the image path leaves the table's folder")


def _lost(frame: pl.DataFrame, reason: str, detail: str) -> pl.DataFrame:
    return frame.select("row", reason=pl.lit(reason), detail=pl.lit(detail)).cast(LEFT_OUT)  # type: ignore[arg-type]


def open_folder(name: str, source: FolderSource, path: Path) -> FileSource:
    """Every image file below a class folder is a candidate; the class folder's name is its `label`.

    Hidden files are ignored. A file that is in no class folder or whose name is not an image's is left out, named
    only by its ending. Raises SourceError if there is no class folder with images.
    """
    if not path.is_dir():
        raise SourceError(f"sources.{name}.path: an existing folder is needed, got {path}.", "Check it and --data.")
    if source.patient_id != "patient_id":
        require_column(["label"], source.patient_id, f"sources.{name}.patient_id")
    found = list(_walk(path, f"sources.{name}.path"))
    images = [(file, label) for file, label in found if _is_candidate(file, label)]
    if not images:
        raise SourceError(
            f"sources.{name}.path: a subfolder per class with images is needed, got {path} without any.",
            "Put the images of each class into a folder of its own (PNG, JPEG, TIFF), or use a table.",
        )
    rows = pl.DataFrame(
        {"path": [file for file, _ in images], "label": [label for _, label in images]},
        schema={"path": pl.String, "label": pl.String},
    ).select(
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"),
        "path",
        pl.lit(None, pl.String).alias("original_patient"),
        pl.lit(source.image_type, pl.String).alias("image_type"),
        "label",
    )
    lost = [_not_a_candidate(file, label) for file, label in found if not _is_candidate(file, label)]
    return FileSource(name, rows, pl.DataFrame(lost, schema=LEFT_OUT, orient="row"), None, path)


def _walk(folder: Path, argument: str) -> Iterator[tuple[str, str]]:
    """(path relative to `folder`, class or "") of every file that is not hidden, in a fixed order.

    Links to folders are followed for a class folder itself, not below it.
    """

    def refuse(error: OSError) -> None:
        raise SourceError(f"{argument}: folders that can be listed are needed, got {error.filename}.", str(error))

    for name in sorted(os.listdir(folder)):
        if name.startswith("."):
            continue
        if not os.path.isdir(folder / name):
            yield name, ""
            continue
        for parent, folders, files in os.walk(folder / name, onerror=refuse):
            folders[:] = sorted(inner for inner in folders if not inner.startswith("."))
            for file in sorted(file for file in files if not file.startswith(".")):
                yield os.path.relpath(os.path.join(parent, file), folder), name


def _is_candidate(file: str, label: str) -> bool:
    return bool(label) and file.lower().endswith(SUFFIXES) and is_text(file)


def _not_a_candidate(file: str, label: str) -> tuple[None, str, str]:
    if not is_text(file):
        return None, *NOT_UTF8
    if not label:
        return None, "no class folder", "the file lies beside the class folders"
    return None, "not an image", f"the file name ends in {os.path.splitext(file)[1].lower()!r}"
