"""One file's header → the facts that selection needs. No pixel is decoded; every wrong value is unknown, not a guess.

Tags and names as in PS3.6; what becomes of their text is in tags.py.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Any, BinaryIO

import polars as pl

from advassay.sources.dicom import tags
from advassay.sources.dicom.identifying import IDENTIFYING, tags_met
from advassay.sources.dicom.opening_file import open_dicom_file
from advassay.sources.unreadable import Unreadable

HEADER_VERSION = 1
"""Raised when the same file would give other facts: kept headers are then read anew."""

IDS = ("patient_id", "study_instance_uid", "series_instance_uid", "sop_instance_uid", "accession_number")

HEADER: dict[str, Any] = {
    "reason": pl.String,  # why the file is out, whatever the study asks for; null for an image
    "detail": pl.String,
    **dict.fromkeys(IDS, pl.String),
    "age": pl.Float64,
    **dict.fromkeys(("sex", "view", "body_part", "modality", "laterality"), pl.String),
    "year": pl.Int32,
    "photometric": pl.String,
    "bits_stored": pl.Int32,
    "pixel_spacing_mm": pl.Float64,
    "voi": pl.String,
    "transfer_syntax": pl.String,
    **dict.fromkeys(("rows_px", "columns_px", "samples", "frames"), pl.Int64),
    "pixel_aspect": pl.Float64,
    **dict.fromkeys(("localiser", "burned_in", "cut_short"), pl.Boolean),
    "identifying": pl.UInt64,
}
"""Schema of the header table: one row per file. Private: it holds original ids."""

_TAGS = {
    "SpecificCharacterSet": 0x00080005,
    "ImageType": 0x00080008,
    "SOPClassUID": 0x00080016,
    "SOPInstanceUID": 0x00080018,
    "StudyDate": 0x00080020,
    "AcquisitionDate": 0x00080022,
    "AccessionNumber": 0x00080050,
    "Modality": 0x00080060,
    "AnatomicRegionSequence": 0x00082218,
    "PatientID": 0x00100020,
    "PatientBirthDate": 0x00100030,
    "PatientSex": 0x00100040,
    "PatientAge": 0x00101010,
    "BodyPartExamined": 0x00180015,
    "ImagerPixelSpacing": 0x00181164,
    "ViewPosition": 0x00185101,
    "StudyInstanceUID": 0x0020000D,
    "SeriesInstanceUID": 0x0020000E,
    "Laterality": 0x00200060,
    "ImageLaterality": 0x00200062,
    "SamplesPerPixel": 0x00280002,
    "PhotometricInterpretation": 0x00280004,
    "NumberOfFrames": 0x00280008,
    "Rows": 0x00280010,
    "Columns": 0x00280011,
    "PixelSpacing": 0x00280030,
    "PixelAspectRatio": 0x00280034,
    "BitsAllocated": 0x00280100,
    "BitsStored": 0x00280101,
    "BurnedInAnnotation": 0x00280301,
    "WindowWidth": 0x00281051,
    "VOILUTFunction": 0x00281056,
    "VOILUTSequence": 0x00283010,
    "ViewCodeSequence": 0x00540220,
}


@cache
def _read() -> list[Any]:
    """Tags that pydicom is to read, as it wants them: made once, since making them costs as much as reading."""
    from pydicom.tag import Tag

    return [Tag(tag) for tag in sorted({*_TAGS.values(), *IDENTIFYING.values()})]


def read_header(path: str | bytes) -> dict[str, Any]:
    """Facts of the file at `path` (keys of HEADER; absent ones are null). Never raises for a bad file."""
    file = open_dicom_file(path)
    if isinstance(file, Unreadable):
        return {"reason": file.reason, "detail": file.detail}
    with file:
        try:
            return _facts(file)
        except MemoryError:
            return {"reason": "too large", "detail": "the header does not fit into the memory of one reader"}
        except Exception as error:  # pydicom raises whatever a broken element leads to
            return {"reason": "damaged", "detail": f"the header does not read: {type(error).__name__}"}


def _facts(file: BinaryIO) -> dict[str, Any]:
    import pydicom

    found = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=_read())
    place = file.tell()
    header = Tags(found)
    syntax = transfer_syntax(found)
    facts = {
        **_ids(header),
        **_person(header),
        **_image(header),
        "transfer_syntax": syntax.name if not syntax.is_private else "private",
        "identifying": tags_met(header.has),
    }
    if not header.has(_TAGS["SOPClassUID"]) and not facts["rows_px"]:  # the first tag that every file has
        return facts | {"reason": "damaged", "detail": "the header is cut short"}
    if not facts["rows_px"] or not facts["columns_px"]:
        return facts | {"reason": "not an image", "detail": "no rows and columns"}
    if not syntax.is_deflated:  # then `place` is in the deflated bytes
        facts |= _pixel_data(file, place, header, syntax, facts)
    return facts


def transfer_syntax(found: Any) -> Any:
    """(0002,0010) Transfer Syntax UID; without file meta, what the data set's own encoding shows (PS3.5 §10)."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    stated = getattr(found, "file_meta", {}).get("TransferSyntaxUID")
    if stated:
        return stated
    implicit, little = found.original_encoding
    return ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian


class Tags:
    """The elements of a data set by keyword, as text and numbers, without pydicom's checks of each value."""

    def __init__(self, found: Any) -> None:
        self._found = found
        self._elements = {int(tag): found.get_item(tag) for tag in found.keys()}  # noqa: SIM118 (iterates elements)

    def has(self, tag: int) -> bool:
        """Whether the element is there with a value."""
        value = self._elements[tag].value if tag in self._elements else None
        return bool(value.strip(b" \0") if isinstance(value, bytes) else value)

    def text(self, keyword: str) -> str | None:
        """The element's text, trimmed; None where it is absent or empty. ASCII as it is, other text as pydicom reads it
        with (0008,0005) Specific Character Set."""
        tag = _TAGS[keyword]
        value = self._elements[tag].value if tag in self._elements else None
        if isinstance(value, bytes) and value.isascii():
            return value.decode("ascii").strip(" \0") or None
        if not value:
            return None
        value = self._found[tag].value
        return ("\\".join(map(str, value)) if isinstance(value, list | tuple) else str(value)).strip(" \0") or None

    def number(self, keyword: str) -> int | None:
        """The element's whole number (VR US or IS), or None."""
        tag = _TAGS[keyword]
        raw = self._elements.get(tag)
        if raw is None or raw.value in (None, b"", ""):
            return None
        if isinstance(raw.value, bytes) and len(raw.value) == 2 and keyword != "NumberOfFrames":
            return int(struct.unpack("<H" if raw.is_little_endian else ">H", raw.value)[0])
        return int(self._found[tag].value)

    def numbers(self, keyword: str) -> list[float]:
        """Numbers of a text element with several values ("0.2\\0.2"); [] where one is no number."""
        try:
            return [float(part) for part in (self.text(keyword) or "").strip("[]").split("\\") if part.strip()]
        except ValueError:
            return []

    def meaning(self, keyword: str) -> str | None:
        """(0008,0104) Code Meaning of the first item of a code sequence, or None."""
        try:
            return str(self._found[_TAGS[keyword]].value[0].CodeMeaning) if self.has(_TAGS[keyword]) else None
        except (AttributeError, IndexError, KeyError):
            return None


def _ids(header: Tags) -> dict[str, Any]:
    return {
        "patient_id": header.text("PatientID"),
        "study_instance_uid": header.text("StudyInstanceUID"),
        "series_instance_uid": header.text("SeriesInstanceUID"),
        "sop_instance_uid": header.text("SOPInstanceUID"),
        "accession_number": header.text("AccessionNumber"),
    }


def _person(header: Tags) -> dict[str, Any]:
    study_date = header.text("StudyDate") or header.text("AcquisitionDate")
    age = tags.age_in_years(header.text("PatientAge"))
    view = tags.view_of(header.text("ViewPosition"))
    part = tags.body_part_of(header.text("BodyPartExamined"))
    return {
        "age": tags.age_at(header.text("PatientBirthDate"), study_date) if age is None else age,
        "sex": tags.sex_of(header.text("PatientSex")),
        "view": tags.view_of(header.meaning("ViewCodeSequence")) if view is None else view,
        "body_part": tags.body_part_of(header.meaning("AnatomicRegionSequence")) if part is None else part,
        "modality": tags.modality_of(header.text("Modality"), header.text("SOPClassUID")),
        "laterality": tags.laterality_of(header.text("ImageLaterality") or header.text("Laterality")),
        "year": tags.year_of(study_date),
    }


def _image(header: Tags) -> dict[str, Any]:
    words = (header.text("ImageType") or "").upper().split("\\")
    spacing = header.numbers("PixelSpacing") or header.numbers("ImagerPixelSpacing")
    spacing = spacing if len(spacing) == 2 and min(spacing) > 0 else []
    ratio = header.numbers("PixelAspectRatio")
    ratio = ratio if len(ratio) == 2 and min(ratio) > 0 else [1.0, 1.0]
    vertical, horizontal = spacing or ratio
    photometric = header.text("PhotometricInterpretation") or ""
    return {
        "photometric": photometric if photometric in ("MONOCHROME1", "MONOCHROME2") else "other",
        "bits_stored": header.number("BitsStored"),
        "pixel_spacing_mm": spacing[0] if spacing else None,  # (0028,0030), else (0018,1164): first value, rows
        "pixel_aspect": vertical / horizontal,
        "voi": _voi(header),
        "rows_px": header.number("Rows"),
        "columns_px": header.number("Columns"),
        "samples": header.number("SamplesPerPixel"),
        "frames": header.number("NumberOfFrames") or 1,
        "localiser": "LOCALIZER" in words or "SCOUT" in words,  # PS3.3 §C.7.6.1.1.2, value 3
        "burned_in": (header.text("BurnedInAnnotation") or "").upper() == "YES",
    }


def _voi(header: Tags) -> str:
    """What scaling `voi` will use: a VOI LUT before a window, as pydicom does (PS3.3 §C.11.2)."""
    if header.has(_TAGS["VOILUTSequence"]):
        return "lut"
    if not header.has(_TAGS["WindowWidth"]):
        return "none"
    return (header.text("VOILUTFunction") or "LINEAR").lower()


_PIXELS = {0x7FE00010, 0x7FE00008, 0x7FE00009}  # Pixel Data, Float Pixel Data, Double Float Pixel Data


def _pixel_data(file: BinaryIO, place: int, header: Tags, syntax: Any, facts: dict[str, Any]) -> dict[str, Any]:
    """Is there pixel data where reading stopped, and, where it is not compressed, all of it?"""
    file.seek(place)
    start = file.read(12)
    order = "<" if syntax.is_little_endian else ">"
    if len(start) < 8 or struct.unpack_from(f"{order}HH", start) not in {(t >> 16, t & 0xFFFF) for t in _PIXELS}:
        return {"reason": "not an image", "detail": "no pixel data"}
    if syntax.is_compressed:
        return {}
    long = not syntax.is_implicit_VR and start[4:6] in (b"OB", b"OW", b"OF", b"OD", b"UN")
    there = file.seek(0, 2) - place - (12 if long else 8)
    bits = header.number("BitsAllocated") or 0
    needed = facts["rows_px"] * facts["columns_px"] * (facts["samples"] or 1) * facts["frames"] * bits // 8
    return {"cut_short": there < needed}
