"""DICOM radiographs as a kind of source; the room `sources/dicom/` reads them."""

from __future__ import annotations

from advassay.identity import content_hash
from advassay.optional_libraries import require_library
from advassay.sources.base import OpenSource
from advassay.sources.dicom.header_filters import DICOM_READING
from advassay.sources.source_opener import SourceKind, SourceRequest, fingerprint_reports
from advassay.spec.source_spec import SOURCE_KINDS, DicomSource


class DicomKind(SourceKind[DicomSource]):
    """An archive of DICOM files. pydicom is imported when one is opened."""

    name = "dicom"
    spec = DicomSource
    reading = DICOM_READING
    earlier_reading = "DICOM files by other rules (raw images, padding, views in descriptions)"

    def open(self, source: DicomSource, request: SourceRequest) -> OpenSource:
        require_library("pydicom", "dicom")
        from advassay.sources.dicom import open_dicom

        opened: OpenSource = open_dicom(
            request.name,
            source,
            request.locate(source.path),
            scaling=request.scaling,
            kept_headers=request.kept_headers,
            progress=request.progress,
        )
        return opened

    def fingerprint(self, source: DicomSource, request: SourceRequest) -> str:
        from advassay.sources.dicom.discover_files import files_state

        files = files_state(f"sources.{request.name}.path", request.locate(source.path))
        return content_hash([files, fingerprint_reports(source, request)])


DICOM = SOURCE_KINDS.register(DicomKind())
