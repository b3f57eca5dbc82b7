"""A kind of source: how one is opened, recognised again and shown; and how any source of a study is opened.

Each file of `kinds/` derives a class from `SourceKind` and registers an instance in `spec.source_spec.SOURCE_KINDS`. A
package of your own does the same and names it in an entry point of the group "advassay.sources".
"""

from __future__ import annotations

import hashlib
import os
import re
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from advassay.errors import ExtensionError, SourceError
from advassay.identity import content_hash
from advassay.progress import Progress
from advassay.sources.base import OpenSource
from advassay.sources.file_paths import as_text
from advassay.spec.rule_spec import data_paths
from advassay.spec.source_spec import SOURCE_KINDS, ReportedSource, SourceKindFacts, SourceSpec

Spec = TypeVar("Spec", bound=SourceSpec)


@dataclass(frozen=True)
class SourceRequest:
    """Where a source is to be read, and how."""

    name: str
    """Of the source in its study, for errors."""
    data: Path | None
    """The folder that relative paths start from."""
    scaling: str = "full-range"
    """Of the cohort; `voi` is applied by a kind whose files state a window."""
    kept_headers: Path | None = None
    """A private folder that remembers headers between calls; None = nothing is remembered."""
    progress: Progress | None = None

    def locate(self, path: str, field: str = "") -> Path:
        """Where a path of the source lies. `field`: of the spec, if it is not `path`. Raises SourceError (`locate`)."""
        return locate(f"{self.name}.{field}" if field else self.name, path, self.data)


class SourceKind(SourceKindFacts, Generic[Spec]):
    """Base of all kinds of sources; `Spec` is the class of their fields in a study file."""

    reading: int | None = None
    """Raised when the same files would be read by other rules; a cohort prepared before is kept, with a warning."""
    earlier_reading: str = "files by other rules"
    """What that warning says that an earlier version read."""

    @abstractmethod
    def open(self, source: Spec, request: SourceRequest) -> OpenSource:
        """The source with its table read; images are read on demand.

        Raises SourceError where it cannot be used as a whole. A bad row or image never raises (sources/base.py).
        """

    @abstractmethod
    def fingerprint(self, source: Spec, request: SourceRequest) -> str:
        """A text that changes when the source holds other rows or images: a cohort is prepared anew then.

        Called for every cohort of every run, so files are looked at (name, size), not read, where there are many.
        """

    def is_at_hand(self, source: Spec, data: Path | None) -> bool:
        """Whether the source can be looked at here; a store may have moved to a machine without it."""
        path: str | None = getattr(source, "path", None)
        if path is None:
            return True
        return (data is not None or os.path.isabs(path)) and ((data or Path()) / path).exists()


def kind_of_source(source: SourceSpec) -> SourceKind[SourceSpec]:
    """The registered kind of a source. Raises ExtensionError for one that is not derived from SourceKind."""
    kind = SOURCE_KINDS.get(source.kind)
    if not isinstance(kind, SourceKind):
        raise ExtensionError(
            f"kind: expected an instance of {SourceKind.__module__}.SourceKind, got {type(kind).__qualname__}.",
            "Derive the kind from that class.",
        )
    return kind


def open_source(
    name: str,
    source: SourceSpec,
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
    request = SourceRequest(name, data, scaling, kept_headers, progress)
    try:
        return _with_reports(kind_of_source(source).open(source, request), source, request)
    except SourceError as error:
        if not _lies_outside(source, data):
            raise
        raise SourceError(
            re.sub(r"'[^']*' stands there twice", "one stands there twice", error.problem),
            "Check the path and the columns that the study names. The file lies outside the data folder: nothing of it "
            "is printed.",
        ) from None


def _with_reports(opened: OpenSource, source: SourceSpec, request: SourceRequest) -> OpenSource:
    """The open source, with the columns of its radiology reports where it has some."""
    if isinstance(source, ReportedSource) and source.reports is not None:
        from advassay.sources.reports.report_columns import with_reports

        path = request.locate(source.reports.path, "reports")
        argument = f"sources.{request.name}.reports"
        opened.rows = with_reports(
            opened.rows, source.reports, path, patient_column=opened.patient_column, argument=argument
        )
    return opened


def fingerprint_source(name: str, source: SourceSpec, data: Path | None) -> str | None:
    """What a source holds now, as a text that changes with it; None where it is not at hand."""
    kind = kind_of_source(source)
    return kind.fingerprint(source, SourceRequest(name, data)) if kind.is_at_hand(source, data) else None


def fingerprint_folder(path: Path) -> str:
    """Hash of the names and sizes of all files below `path`."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return content_hash([[as_text(str(file.relative_to(path))), file.stat().st_size] for file in files])


def fingerprint_reports(source: ReportedSource, request: SourceRequest) -> list[str | None] | None:
    """Content of the reports, and of the vocabulary where it is a file of the user's; None without reports."""
    if source.reports is None:
        return None
    files = [request.locate(source.reports.path, "reports"), Path(source.reports.language or "")]
    return [hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None for file in files]


def _lies_outside(source: SourceSpec, data: Path | None) -> bool:
    """Whether a file that the source names lies outside the data folder, where there is one; links are followed."""
    if data is None:
        return False
    return any(not (data / path).resolve().is_relative_to(data.resolve()) for path in data_paths(source))


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
