"""A public data set as a source: its recipe says which files are images and what is known of each."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from advassay.errors import SourceError
from advassay.identity import content_hash
from advassay.sources.base import FileSource, OpenSource
from advassay.sources.datasets.dataset_card import Layout, load_card
from advassay.sources.datasets.set_files import add_columns, files_in, read_layout
from advassay.sources.source_opener import (
    SourceKind,
    SourceRequest,
    fingerprint_folder,
    fingerprint_reports,
)
from advassay.sources.table_files import require_column
from advassay.spec.source_spec import SOURCE_KINDS, DatasetSource, DicomSource

_OWN = ("row", "path", "original_patient", "image_type")


def layout_of(name: str, source: DatasetSource) -> Layout:
    """How the set's files become rows. Raises SourceError for an unknown recipe, or one that another kind reads."""
    found = load_card(source.recipe)
    if found.layout is None:
        kinds = ", ".join(other.kind for other in found.sources.values())
        raise SourceError(
            f"sources.{name}.recipe: expected one that `kind: dataset` reads, got {source.recipe!r} (kind: {kinds}).",
            f"Paste the source that `advassay datasets show {found.name}` prints.",
        )
    return found.layout


def open_dataset(source: DatasetSource, request: SourceRequest) -> OpenSource:
    """Every image of the set is a candidate, with the columns its recipe names; other images are left out.

    Raises SourceError where a table of the set is missing, or where no image of it is in the folder.
    """
    name, path = request.name, request.locate(source.path)
    layout = layout_of(name, source)
    if layout.images == "dicom":
        return _open_dicom_set(source, path, layout, request)
    rows, lost = read_layout(layout, path, f"sources.{name}.path")
    return FileSource(name, as_candidates(name, source, rows, path), lost, patient_of(name, source, rows), path)


def _open_dicom_set(source: DatasetSource, path: Path, layout: Layout, request: SourceRequest) -> OpenSource:
    """The radiographs of the folder, screened by their headers like any others, with the set's columns added."""
    from advassay.sources.dicom import open_dicom

    name = request.name
    radiographs = DicomSource(kind="dicom", path=source.path, image_type=source.image_type)
    opened = open_dicom(
        name, radiographs, path,
        scaling=request.scaling, kept_headers=request.kept_headers, progress=request.progress,
    )  # fmt: skip
    rows, strange = add_columns(opened.rows, layout, path, files_in(path, f"sources.{name}.path"))
    _need_images(source, rows, path, name)
    patient = patient_of(name, source, rows)
    if patient is not None:
        rows = rows.with_columns(pl.col(patient).cast(pl.String).alias("original_patient"))
    opened.rows, opened.patient_column = rows, patient
    opened.left_out = pl.concat([opened.left_out, strange])
    return opened


def as_candidates(name: str, source: DatasetSource, rows: pl.DataFrame, path: Path) -> pl.DataFrame:
    """`rows` of the set with the columns every source has. Raises SourceError where there are none."""
    _need_images(source, rows, path, name)
    patient = patient_of(name, source, rows)
    own = [
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"),
        pl.col("path"),
        (pl.lit(None, pl.String) if patient is None else pl.col(patient).cast(pl.String)).alias("original_patient"),
        pl.lit(source.image_type, pl.String).alias("image_type"),
    ]
    return rows.select(*own, pl.exclude(*_OWN))


def _need_images(source: DatasetSource, rows: pl.DataFrame, path: Path, name: str) -> None:
    if rows.is_empty():
        raise SourceError(
            f"sources.{name}.path: expected images of {source.recipe}, got {path} without any.",
            f"`advassay datasets check {source.recipe} FOLDER` says what is missing.",
        )


def patient_of(name: str, source: DatasetSource, rows: pl.DataFrame) -> str | None:
    """The column that names patients; null where the set names none. Raises SourceError for one asked for in vain."""
    if source.patient_id not in rows.columns and source.patient_id == "patient_id":
        return None
    require_column(rows.columns, source.patient_id, f"sources.{name}.patient_id")
    return source.patient_id


class DatasetKind(SourceKind[DatasetSource]):
    """A public data set, read by its recipe, which is part of what it holds."""

    name = "dataset"
    spec = DatasetSource

    def open(self, source: DatasetSource, request: SourceRequest) -> OpenSource:
        return open_dataset(source, request)

    def fingerprint(self, source: DatasetSource, request: SourceRequest) -> str:
        layout = layout_of(request.name, source).model_dump(mode="json")
        folder = fingerprint_folder(request.locate(source.path))
        return content_hash([layout, folder, fingerprint_reports(source, request)])


DATASET = SOURCE_KINDS.register(DatasetKind())
