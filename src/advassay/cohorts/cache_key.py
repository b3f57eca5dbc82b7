"""What was asked for and of which data: how `prepare` knows that a cohort is already there, or out of date."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import assert_never

import numpy as np

from advassay.checked_files import read_model
from advassay.cohorts.regions.review_lists import lists_state
from advassay.identity import content_hash, image_id
from advassay.sources.kinds.dataset import layout_of
from advassay.sources.file_paths import as_text
from advassay.sources.source_opener import locate, slide_places
from advassay.spec.cohort_spec import DESCRIPTIVE, CohortSpec
from advassay.spec.source_spec import (
    DatasetSource,
    DicomSource,
    FolderSource,
    Hdf5Source,
    NpzSource,
    PhantomSource,
    ReportSpec,
    SlideSource,
    Source,
    TableSource,
)
from advassay.store_documents import Preparation
from advassay.store_layout import PREPARATION

HEALED = "`advassay prepare` with the same study and --store prepares the cohort anew."
"""What to do where a file of a prepared cohort is damaged."""
RECIPE = 1
"""Raised when the same request would give other images or another split: prepared cohorts are then made anew."""


def request_hash(spec: CohortSpec, source: Source, size_px: int, seed: int) -> str:
    """Hash of everything in the study file that decides who is in a cohort and how it is prepared."""
    asked = without_folders(spec).model_dump(mode="json", by_alias=True, exclude=DESCRIPTIVE)
    return content_hash([RECIPE, asked, source.model_dump(mode="json", exclude={"image_type"}), size_px, seed])


def without_folders(spec: CohortSpec) -> CohortSpec:
    """The cohort as its store may show it: of absolute paths only the last name."""
    return spec if spec.region is None else spec.model_copy(update={"region": spec.region.without_folders()})


def state_of(spec: CohortSpec, source: Source, data: Path | None) -> str | None:
    """Fingerprint of what a cohort is made from: its source, and the lists of a region; None where not at hand."""
    state = source_state(spec.source, source, data)
    if spec.region is None or state is None or not (spec.region.accept or spec.region.reject):
        return state
    lists = lists_state(spec.region, data)
    return None if lists is None else content_hash([state, lists])


def source_state(name: str, source: Source, data: Path | None) -> str | None:
    """Fingerprint of a source as it is now, or None where it is not at hand (a store moved to another machine).

    A table: its content and its reports'. A folder, DICOM, HDF5: names and sizes of the files; of a public data set
    its recipe too. An .npz: its size and time of change. Phantoms: the first image, so that no version has to be kept.
    Image files changed behind an unchanged table are not seen.
    """
    if isinstance(source, PhantomSource):
        from advassay.sources.phantoms import render

        return image_id(render(source, np.array([0]))[0])
    if data is None and not Path(source.path).is_absolute():
        return None
    path = locate(name, source.path, data)
    if not path.exists():
        return None
    if isinstance(source, SlideSource):
        from advassay.sources.slides import slides_state

        return slides_state(slide_places(name, source, data))
    if isinstance(source, DicomSource):
        return _archive_state(name, source, path, data)
    if isinstance(source, TableSource):
        table = hashlib.sha256(path.read_bytes()).hexdigest()
        return table if source.reports is None else content_hash([table, _reports_state(name, source.reports, data)])
    if isinstance(source, DatasetSource):
        layout = layout_of(name, source).model_dump(mode="json")
        reports = _reports_state(name, source.reports, data) if source.reports else None
        return content_hash([layout, _folder_state(path), reports])
    if isinstance(source, FolderSource | Hdf5Source):
        return _folder_state(path)
    if isinstance(source, NpzSource):
        return content_hash([path.stat().st_size, path.stat().st_mtime_ns])
    assert_never(source)


def _archive_state(name: str, source: DicomSource, path: Path, data: Path | None) -> str:
    from advassay.sources.dicom.discover_files import files_state

    files = files_state(f"sources.{name}.path", path)
    return content_hash([files, _reports_state(name, source.reports, data) if source.reports else None])


def _folder_state(path: Path) -> str:
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return content_hash([[as_text(str(file.relative_to(path))), file.stat().st_size] for file in files])


def _reports_state(name: str, reports: ReportSpec, data: Path | None) -> list[str | None]:
    """Content of the reports, and of the vocabulary where it is a file of the user's."""
    files = [locate(f"{name}.reports", reports.path, data), Path(reports.language or "")]
    return [hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None for file in files]


def is_current(found: Preparation, request: str, state: str | None) -> bool:
    """Whether a prepared cohort answers this request on the source as it is now (or as far as one can see it)."""
    return found.request == request and (state is None or state == found.source_state)


def document_in(folder: Path) -> Preparation | None:
    """The preparation.json of `folder`, or None where nothing is (completely) prepared. Raises DamagedError."""
    try:
        return read_model(folder / PREPARATION, Preparation, HEALED)
    except FileNotFoundError:
        return None


def is_prepared(
    folder: Path, spec: CohortSpec, source: Source, *, size_px: int, seed: int, data: Path | None = None
) -> bool:
    """Whether `prepare` would keep what `folder` holds. Without `data`, changes of the source are not looked for."""
    if (found := document_in(folder)) is None:
        return False
    return is_current(found, request_hash(spec, source, size_px, seed), state_of(spec, source, data))
