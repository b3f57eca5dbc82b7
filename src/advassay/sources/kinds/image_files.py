"""Sources whose images are files: a table with a column of paths, a folder per class."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePath

import polars as pl

from advassay.errors import SourceError
from advassay.identity import content_hash
from advassay.sources.base import LEFT_OUT, FileSource
from advassay.sources.file_paths import NOT_UTF8, is_text
from advassay.sources.source_opener import (
    SourceKind,
    SourceRequest,
    fingerprint_folder,
    fingerprint_reports,
)
from advassay.sources.table_files import read_table, require_column
from advassay.spec.source_spec import SOURCE_KINDS, FolderSource, TableSource

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_OWN = ("row", "path", "original_patient")


def open_table(name: str, source: TableSource, path: Path, images: Path | None = None) -> FileSource:
    """Every line of the table with an image path is a candidate; paths are relative to the table's folder or `images`.

    A path that leaves that folder is left out; so is a bare name that several files below `images` have. A column
    `image_type` of the table wins over the source's. Its own columns called row, path or original_patient are carried
    as table_row, …. Raises SourceError for a missing column or folder, or if no row is left.
    """
    table = read_table(path, text=frozenset({source.image, source.patient_id}))
    require_column(table.columns, source.image, f"sources.{name}.image")
    patient = patient_column(name, source, table.columns)
    frame = _candidates(table, source, patient)
    folder = path.parent if images is None else images
    lost = [_without_path(frame), _outside(frame, folder)]
    if images is not None:
        frame, several = _found_by_name(frame, images, f"sources.{name}.images")
        lost.append(several)
    frame = _with_patients(frame, source.patient_pattern)
    out = pl.concat(lost)
    kept = frame.filter(~pl.col("row").is_in(out["row"].implode()))
    if kept.is_empty():
        raise SourceError(
            f"sources.{name}: expected at least one row with an image path inside {folder}, got none of "
            f"{table.height} rows.",
            f"Write the paths in column {source.image!r} relative to {folder}, or name another folder in `images`.",
        )
    return FileSource(name, kept, out.sort("row"), patient, folder)


def patient_column(name: str, source: TableSource | FolderSource, columns: list[str]) -> str | None:
    """The source's patient column; null if it has none and none was asked for by name."""
    if source.patient_id not in columns and source.patient_id == "patient_id":
        return None
    require_column(columns, source.patient_id, f"sources.{name}.patient_id")
    return source.patient_id


def _with_patients(frame: pl.DataFrame, pattern: str | None) -> pl.DataFrame:
    """`frame` with the patient that `pattern` finds in the path of each row that has none."""
    if pattern is None:
        return frame
    found = patients_in_paths(frame["path"], pattern)
    return frame.with_columns(pl.coalesce("original_patient", found.alias("found")).alias("original_patient"))


def patients_in_paths(paths: pl.Series, pattern: str) -> pl.Series:
    """The first group of `pattern` that took part in its first match in each file name; null where it does not match.

    >>> patients_in_paths(pl.Series(["ill/person12_virus_3.jpg", "well/IM-1.jpg"]), "^(person[0-9]+)_").to_list()
    ['person12', None]
    """
    compiled, whole = re.compile(pattern), "/" in pattern

    def patient(path: str) -> str | None:
        match = compiled.search(path if whole else path.rsplit("/", 1)[-1])
        return next((group for group in match.groups() if group), None) if match else None

    return pl.Series("patient", [None if path is None else patient(path) for path in paths], dtype=pl.String)


def _found_by_name(frame: pl.DataFrame, folder: Path, argument: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`frame` with the place of each bare name below `folder`, and the rows whose name several files have."""
    if not folder.is_dir():
        raise SourceError(f"{argument}: no such folder: {folder}.", "Check it and --data.")
    bare = frame.filter(~pl.col("path").str.contains("/", literal=True))
    if bare.is_empty():
        return frame, _lost(bare, "", "")
    places = names_below(folder)
    several = bare.filter(pl.col("path").is_in([name for name, found in places.items() if len(found) > 1]))
    known = {name: found[0] for name, found in places.items()}
    lost = _lost(several, "several files of this name", "the folder of images has more than one")
    return frame.with_columns(pl.col("path").replace(known)), lost


def names_below(folder: Path) -> dict[str, list[str]]:
    """Name of every image file below `folder` → its paths in it; hidden files and folders are ignored."""
    found: dict[str, list[str]] = {}
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(inner for inner in folders if not inner.startswith("."))
        for file in sorted(file for file in files if not file.startswith(".") and file.lower().endswith(SUFFIXES)):
            if not is_text(file):
                continue
            found.setdefault(file, []).append(os.path.relpath(os.path.join(parent, file), folder))
    return found


def _candidates(table: pl.DataFrame, source: TableSource, patient: str | None) -> pl.DataFrame:
    image = pl.col(source.image).cast(pl.String)
    if source.ending is not None:
        image = (
            pl.when(image.str.to_lowercase().str.ends_with(source.ending.lower()))
            .then(image)
            .otherwise(image + source.ending)
        )
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

    `source.folders` says which level of folders the classes are, and names a column for each other one. Hidden files
    are ignored. A file that is in no class folder or whose name is not an image's is left out, named only by its
    ending. Raises SourceError if there is no class folder with images.
    """
    if not path.is_dir():
        raise SourceError(f"sources.{name}.path: no such folder: {path}.", "Check it and --data.")
    levels = list(source.folders)
    if source.patient_id != "patient_id":
        require_column([level for level in levels if level != "-"], source.patient_id, f"sources.{name}.patient_id")
    depth = levels.index("label") + 1
    found = list(_walk(path, f"sources.{name}.path"))
    images = [file for file in found if _is_candidate(file, depth)]
    if not images:
        raise SourceError(
            f"sources.{name}.path: expected a subfolder per class with images, got {path} without any.",
            "Put the images of each class into a folder of its own (PNG, JPEG, TIFF), or use a table.",
        )
    parts = [PurePath(file).parts[:-1] for file in images]
    columns = {
        level: pl.Series(level, [part[place] if place < len(part) else None for part in parts], dtype=pl.String)
        for place, level in enumerate(levels)
        if level != "-"
    }
    patient = source.patient_id if source.patient_id in columns else None
    original = None if patient is None else columns[patient]
    if patient != "label":
        columns.pop(patient or "", None)
    rows = pl.DataFrame({"path": images, **columns}, schema_overrides={"path": pl.String}).select(
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"),
        "path",
        pl.lit(original if original is not None else None, pl.String).alias("original_patient"),
        pl.lit(source.image_type, pl.String).alias("image_type"),
        *columns,
    )
    rows = _with_patients(rows, source.patient_pattern)
    lost = [_not_a_candidate(file, depth) for file in found if not _is_candidate(file, depth)]
    return FileSource(name, rows, pl.DataFrame(lost, schema=LEFT_OUT, orient="row"), None, path)


def _walk(folder: Path, argument: str) -> Iterator[str]:
    """Path relative to `folder` of every file that is not hidden, in a fixed order.

    Links to folders are followed directly below `folder`, not further down.
    """

    def refuse(error: OSError) -> None:
        raise SourceError(f"{argument}: expected folders that can be listed, got {error.filename}.", str(error))

    for name in sorted(os.listdir(folder)):
        if name.startswith("."):
            continue
        if not os.path.isdir(folder / name):
            yield name
            continue
        for parent, folders, files in os.walk(folder / name, onerror=refuse):
            folders[:] = sorted(inner for inner in folders if not inner.startswith("."))
            for file in sorted(file for file in files if not file.startswith(".")):
                yield os.path.relpath(os.path.join(parent, file), folder)


def _is_candidate(file: str, depth: int) -> bool:
    return file.count(os.sep) >= depth and file.lower().endswith(SUFFIXES) and is_text(file)


def _not_a_candidate(file: str, depth: int) -> tuple[None, str, str]:
    if not is_text(file):
        return None, *NOT_UTF8
    if file.count(os.sep) < depth:
        return None, "no class folder", "the file lies beside the class folders"
    return None, "not an image", f"the file name ends in {os.path.splitext(file)[1].lower()!r}"


class TableKind(SourceKind[TableSource]):
    """A table with a column of image paths. Images changed behind an unchanged table are not seen."""

    name = "table"
    spec = TableSource

    def open(self, source: TableSource, request: SourceRequest) -> FileSource:
        images = None if source.images is None else request.locate(source.images, "images")
        return open_table(request.name, source, request.locate(source.path), images)

    def fingerprint(self, source: TableSource, request: SourceRequest) -> str:
        table = hashlib.sha256(request.locate(source.path).read_bytes()).hexdigest()
        return table if source.reports is None else content_hash([table, fingerprint_reports(source, request)])


class FolderKind(SourceKind[FolderSource]):
    """A folder per class."""

    name = "folder"
    spec = FolderSource

    def open(self, source: FolderSource, request: SourceRequest) -> FileSource:
        return open_folder(request.name, source, request.locate(source.path))

    def fingerprint(self, source: FolderSource, request: SourceRequest) -> str:
        return fingerprint_folder(request.locate(source.path))


TABLE = SOURCE_KINDS.register(TableKind())
FOLDER = SOURCE_KINDS.register(FolderKind())
