"""One file's header → the facts that selection needs. No pixel is decoded; every wrong value is unknown, not a guess.

Tags and names as in PS3.6; what becomes of their text is in tag_normalisation.py.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, BinaryIO

import polars as pl

from advassay.sources.dicom import tag_normalisation
from advassay.sources.dicom.header_tags import TAGS, Code, Tags
from advassay.sources.dicom.open_dicom_file import open_dicom_file
from advassay.sources.dicom.patient_identity import IDENTIFYING, tags_met
from advassay.sources.dicom.tag_normalisation import orientation_words, part_of_code, view_of_code
from advassay.sources.dicom.tag_vocabulary import fold, kind_in, stands_for_nothing
from advassay.sources.read_failures import Unreadable

HEADER_VERSION = 4
"""Raised when the same file would give other facts: kept headers are then read anew."""

IDS = ("patient_id", "study_instance_uid", "series_instance_uid", "sop_instance_uid", "accession_number")

HEADER: dict[str, Any] = {
    "reason": pl.String,  # why the file is out, whatever the study asks for; null for an image
    "detail": pl.String,
    **dict.fromkeys(IDS, pl.String),
    "id_broken": pl.Boolean,  # the patient's id is no text of the declared character set
    "character_sets": pl.String,  # Python's names of the declared ones
    "age": pl.Float64,
    **dict.fromkeys(("sex", "view", "body_part", "modality", "laterality"), pl.String),
    **dict.fromkeys(("presentation_intent", "image_kind", "derivation", "orientation"), pl.String),
    "fov_flipped": pl.Boolean,
    "fov_rotation": pl.Int32,
    **dict.fromkeys(("respelled", "view_from_text", "view_doubted", "part_from_text", "sex_unread"), pl.Boolean),
    "sex_letter": pl.String,  # F, H or M where the tag is that one letter: what M means depends on the others
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


@cache
def _read() -> list[Any]:
    """Tags that pydicom is to read, as it wants them: made once, since making them costs as much as reading."""
    from pydicom.tag import Tag

    return [Tag(tag) for tag in sorted({*TAGS.values(), *IDENTIFYING.values()})]


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
        **_made(header),
        **_image(header),
        "transfer_syntax": syntax.name if not syntax.is_private else "private",
        "identifying": tags_met(header.has),
    }
    if _is_directory(found):
        return facts | {"reason": "DICOMDIR", "detail": "the directory of a medium; its files are read where they are"}
    if not header.has(TAGS["SOPClassUID"]) and not facts["rows_px"]:  # the first tag that every file has
        return facts | {"reason": "damaged", "detail": "the header is cut short"}
    if not facts["rows_px"] or not facts["columns_px"]:
        return facts | {"reason": "not an image", "detail": "no rows and columns"}
    if not syntax.is_deflated:  # then `place` is in the deflated bytes
        facts |= _pixel_data(file, place, header, syntax, facts)
    return facts


def _is_directory(found: Any) -> bool:
    """Media Storage Directory Storage, PS3.10 §8.6."""
    return getattr(found, "file_meta", {}).get("MediaStorageSOPClassUID") == "1.2.840.10008.1.3.10"


def transfer_syntax(found: Any) -> Any:
    """(0002,0010) Transfer Syntax UID; without file meta, what the data set's own encoding shows (PS3.5 §10)."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    stated = getattr(found, "file_meta", {}).get("TransferSyntaxUID")
    if stated:
        return stated
    implicit, little = found.original_encoding
    return ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _ids(header: Tags) -> dict[str, Any]:
    patient = header.decoded("PatientID")
    return {
        "patient_id": patient.text if patient else None,
        "id_broken": patient is not None and (patient.broken or "\ufffd" in patient.text or "??" in patient.text),
        "character_sets": "\\".join(header.encodings) or None,
        "study_instance_uid": header.text("StudyInstanceUID"),
        "series_instance_uid": header.text("SeriesInstanceUID"),
        "sop_instance_uid": header.text("SOPInstanceUID"),
        "accession_number": header.text("AccessionNumber"),
    }


_DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "AcquisitionDateTime")


def _person(header: Tags) -> dict[str, Any]:
    dates = [(header.text(keyword) or "")[: 10 if keyword != "AcquisitionDateTime" else 8] for keyword in _DATES]
    age = tag_normalisation.age_in_years(header.text("PatientAge"))
    years = (tag_normalisation.year_of(date) for date in dates)
    sex, letter = header.word("PatientSex", tag_normalisation.sex_of), fold(header.text("PatientSex"))
    return {
        "age": tag_normalisation.age_at_any(header.text("PatientBirthDate"), dates) if age is None else age,
        "sex": sex,
        "sex_unread": sex is None and not stands_for_nothing(header.text("PatientSex")),
        "sex_letter": letter if letter in ("F", "H", "M") else None,
        **_shown(header),
        "laterality": tag_normalisation.laterality_of(header.text("ImageLaterality") or header.text("Laterality")),
        "year": next((year for year in years if year is not None), None),
    }


_OF_SERIES = ("SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription")
_OF_STUDY = ("BodyPartExamined", "PerformedProcedureStepDescription", "StudyDescription")


def _shown(header: Tags) -> dict[str, Any]:
    """View and body part: the tag, else the code, else what series and protocol are called. A study may have several
    views: its name is believed where it names one, and no frontal one. Last, rows that lead to the patient's front or
    back are of a lateral image (PS3.3 §C.7.6.1.1.1)."""
    view = header.word("ViewPosition", tag_normalisation.view_of)
    part = header.word("BodyPartExamined", tag_normalisation.body_part_of)
    coded = _of_code(header.code("ViewCodeSequence"), view_of_code, tag_normalisation.view_of)
    stated, view = view, coded if view is None else view
    part = (
        _of_code(header.code("AnatomicRegionSequence"), part_of_code, tag_normalisation.body_part_of)
        if part is None
        else part
    )
    from_series = [
        _first_plain(header, _OF_SERIES, read) for read in (tag_normalisation.view_in, tag_normalisation.body_part_in)
    ]
    sideways = "lateral" if (header.text("PatientOrientation") or "").strip().upper()[:1] in ("A", "P") else None
    if from_series[0] is None:
        of_study = (header.word(keyword, tag_normalisation.view_in) for keyword in _OF_STUDY)
        from_series[0] = next((one for one in of_study if one in tag_normalisation.SIDEWAYS), sideways)
    elif sideways and from_series[0] in tag_normalisation.FRONTAL:
        from_series[0] = "other"  # a description of several images
    part_of_study = header.word("StudyDescription", tag_normalisation.body_part_in)
    part_in_text = from_series[1] or (None if part_of_study == "other" else part_of_study)
    return {
        "view": from_series[0] if view is None else view,
        "view_from_text": view is None and from_series[0] is not None,
        "view_doubted": stated in tag_normalisation.FRONTAL
        and bool({coded, from_series[0], sideways} - {None, "other", *tag_normalisation.FRONTAL}),
        "body_part": part_in_text if part is None else part,
        "part_from_text": part is None and part_in_text is not None,
    }


def _of_code(
    code: Code | None,
    by_value: Callable[[str | None, str | None], str | None],
    by_words: Callable[[str | None], str | None],
) -> str | None:
    """What a code says by its value; by its meaning where the value is absent, unknown or of another scheme."""
    if code is None:
        return None
    found = by_value(code.value, code.scheme)
    return by_words(code.meaning) or found if found in (None, "other") else found or None


def _first_plain(header: Tags, keywords: Iterable[str], read: Callable[[str | None], str | None]) -> str | None:
    """What the first description that says one thing says; "other" where one says several and none says one."""
    seen = [header.word(keyword, read) for keyword in keywords]
    return next((one for one in seen if one not in (None, "other")), "other" if "other" in seen else None)


_FOR_PROCESSING = frozenset(
    (
        "1.2.840.10008.5.1.4.1.1.1.1.1",  # Digital X-Ray Image Storage - For Processing
        "1.2.840.10008.5.1.4.1.1.1.2.1",  # Digital Mammography …
        "1.2.840.10008.5.1.4.1.1.1.3.1",  # Digital Intra-Oral …
    )
)
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # and its multi-frame descendants
_DRAWN = frozenset(("DRW", "SYN"))  # (0008,0064) Conversion Type: drawing, synthetic image
_TOMOGRAPHY = ("TomoLayerHeight", "TomoAngle", "TomoType", "TomoClass")
_TEXTS_OF_KIND = ("ImageType", "SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription")


def _made(header: Tags) -> dict[str, Any]:
    """How the image came to be: modality, purpose, kind, derivation, and which way it lies."""
    sop_class = header.text("SOPClassUID") or ""
    modality = header.text("Modality")
    intent = (header.text("PresentationIntentType") or "").upper()
    processing = sop_class in _FOR_PROCESSING or "PROCESSING" in intent
    first = (header.text("ImageType") or "").upper().split("\\")[0].strip()
    along, down, *_ = [*(header.text("PatientOrientation") or "").split("\\"), "", ""]
    flip = (header.text("FieldOfViewHorizontalFlip") or "").upper()
    return {
        "modality": tag_normalisation.modality_of(modality, sop_class),
        "respelled": (modality or "").upper() in tag_normalisation.RESPELLED,
        "presentation_intent": "processing" if processing else "presentation" if "PRESENTATION" in intent else None,
        "image_kind": _kind(header, sop_class),
        "derivation": {"ORIGINAL": "original", "DERIVED": "derived"}.get(first),  # PS3.3 §C.7.6.1.1.2, value 1
        "orientation": orientation_words(along, down),
        "fov_flipped": {"YES": True, "NO": False}.get(flip),
        "fov_rotation": next((int(turn) for turn in header.numbers("FieldOfViewRotation") if 0 <= turn < 360), None),
    }


def _kind(header: Tags, sop_class: str) -> str:
    """One of IMAGE_KINDS: by tags made for it, then by the words of Image Type and descriptions."""
    if (header.text("QualityControlImage") or "").upper() in ("YES", "BOTH"):  # (0028,0300)
        return "quality control"
    if (header.text("ContentQualification") or "").upper() == "SERVICE":  # (0018,9004)
        return "quality control"
    named = next((kind for keyword in _TEXTS_OF_KIND if (kind := kind_in(header.text(keyword)))), None)
    named = named or kind_in(header.text("DerivationDescription"))
    if named is not None:
        return named
    if any(header.has(TAGS[keyword]) for keyword in _TOMOGRAPHY):
        return "tomographic"
    if sop_class == _SECONDARY_CAPTURE or sop_class.startswith(f"{_SECONDARY_CAPTURE}."):
        drawn = (header.text("ConversionType") or "").upper() in _DRAWN
        return "drawing" if drawn else "secondary capture"
    return "radiograph"


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
    if header.has(TAGS["VOILUTSequence"]):
        return "lut"
    if not header.has(TAGS["WindowWidth"]):
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
