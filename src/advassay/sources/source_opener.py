"""From a source as a study names it to an open source."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from advassay.errors import SourceError
from advassay.progress import Progress
from advassay.sources.base import OpenSource
from advassay.spec.source_spec import (
    DatasetSource,
    DicomSource,
    FolderSource,
    Hdf5Source,
    NpzSource,
    PhantomSource,
    ReportedSource,
    SlideSource,
    Source,
    TableSource,
)

if TYPE_CHECKING:
    from advassay.sources.slides import SlidePaths


def open_source(
    name: str,
    source: Source,
    data: Path | None,
    *,
    scaling: str = "full-range",
    kept_headers: Path | None = None,
    progress: Progress | None = None,
) -> OpenSource:
    """Open a study's source. `name` is its name in the study; `data` the folder relative paths start from.

    Of DICOM files only: scaling: of the cohort (`voi` is applied while reading); kept_headers: a private folder that
    remembers headers between calls; progress: told of the headers read.

    Raises SourceError if the source as a whole cannot be used: missing file or column, not a table, no data folder.
    A single bad row or image never raises.
    """
    try:
        return _open(name, source, data, scaling=scaling, kept_headers=kept_headers, progress=progress)
    except SourceError as error:
        if not _lies_outside(source, data):
            raise
        raise SourceError(
            re.sub(r"'[^']*' stands there twice", "one stands there twice", error.problem),
            "Check the path and the columns that the study names. The file lies outside the data folder: nothing of it "
            "is printed.",
        ) from None


def _lies_outside(source: Source, data: Path | None) -> bool:
    """Whether a file that the source names lies outside the data folder, where there is one; links are followed."""
    if data is None or isinstance(source, PhantomSource):
        return False
    reports = source.reports if isinstance(source, ReportedSource) else None
    paths = [source.path, *([reports.path] if reports else [])]
    return any(not (data / path).resolve().is_relative_to(data.resolve()) for path in paths)


def _open(
    name: str,
    source: Source,
    data: Path | None,
    *,
    scaling: str,
    kept_headers: Path | None,
    progress: Progress | None,
) -> OpenSource:
    if isinstance(source, PhantomSource):
        from advassay.sources.kinds.phantoms import open_phantoms

        return open_phantoms(name, source)
    if isinstance(source, SlideSource):
        from advassay.sources.slides import open_slides

        return open_slides(name, source, slide_places(name, source, data))
    path = locate(name, source.path, data)
    if isinstance(source, DicomSource):
        from advassay.sources.dicom import open_dicom

        opened: OpenSource = open_dicom(
            name, source, path, scaling=scaling, kept_headers=kept_headers, progress=progress
        )
    elif isinstance(source, DatasetSource):
        from advassay.sources.kinds.dataset import open_dataset

        opened = open_dataset(name, source, path, scaling=scaling, kept_headers=kept_headers, progress=progress)
    else:
        opened = _open_path(name, source, path, data)
    if isinstance(source, ReportedSource) and source.reports is not None:
        from advassay.sources.reports.report_columns import with_reports

        path = locate(f"{name}.reports", source.reports.path, data)
        opened.rows = with_reports(
            opened.rows, source.reports, path, patient_column=opened.patient_column, argument=f"sources.{name}.reports"
        )
    return opened


def slide_places(name: str, source: SlideSource, data: Path | None) -> SlidePaths:
    """Where the files of slides lie: the folder, and where a class comes from.

    Raises SourceError like `locate`.
    """
    from advassay.sources.slides import SlidePaths

    classes = source.classes
    paths = {"table": classes.table, "annotations": classes.annotations, "masks": classes.masks}
    found = {part: locate(f"{name}.classes.{part}", path, data) for part, path in paths.items() if path is not None}
    return SlidePaths(locate(name, source.path, data), **found)


def _open_path(
    name: str, source: TableSource | FolderSource | NpzSource | Hdf5Source, path: Path, data: Path | None
) -> OpenSource:
    if isinstance(source, NpzSource):
        from advassay.sources.kinds.npz import open_npz

        return open_npz(name, source, path)
    if isinstance(source, Hdf5Source):
        from advassay.sources.kinds.hdf5 import open_hdf5

        return open_hdf5(name, source, path)
    from advassay.sources.kinds.image_files import open_folder, open_table

    if isinstance(source, FolderSource):
        return open_folder(name, source, path)
    images = None if source.images is None else locate(f"{name}.images", source.images, data)
    return open_table(name, source, path, images)


def locate(name: str, path: str, data: Path | None) -> Path:
    """Where a source lies: an absolute path as written, a relative one under `data`.

    Raises SourceError for a relative path without a data folder, or one that leaves it.
    """
    if os.path.isabs(path):
        return Path(path)
    if data is None:
        raise SourceError(
            f"sources.{name}.path: {path!r} is relative to the data folder, and none was given.", "Give --data FOLDER."
        )
    if os.path.normpath(path).split(os.sep)[0] == "..":
        raise SourceError(f"sources.{name}.path: must stay inside the data folder, got {path!r}.", "Remove the '..'.")
    return data / path
