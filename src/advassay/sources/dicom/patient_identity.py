"""Which tags point at a person, and which ids are of one patient, of several or of nobody."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from advassay.sources.dicom.header_tags import in_encoding
from advassay.sources.dicom.tag_vocabulary import stands_for_nobody

IDENTIFYING = {
    "AccessionNumber": 0x00080050,
    "StudyDate": 0x00080020,
    "StudyTime": 0x00080030,
    "InstitutionName": 0x00080080,
    "InstitutionAddress": 0x00080081,
    "ReferringPhysicianName": 0x00080090,
    "StationName": 0x00081010,
    "StudyDescription": 0x00081030,
    "SeriesDescription": 0x0008103E,
    "InstitutionalDepartmentName": 0x00081040,
    "PerformingPhysicianName": 0x00081050,
    "NameOfPhysiciansReadingStudy": 0x00081060,
    "OperatorsName": 0x00081070,
    "PatientName": 0x00100010,
    "PatientID": 0x00100020,
    "IssuerOfPatientID": 0x00100021,
    "PatientBirthDate": 0x00100030,
    "PatientBirthTime": 0x00100032,
    "OtherPatientIDs": 0x00101000,
    "OtherPatientNames": 0x00101001,
    "PatientBirthName": 0x00101005,
    "PatientAddress": 0x00101040,
    "PatientMotherBirthName": 0x00101060,
    "MedicalRecordLocator": 0x00101090,
    "PatientTelephoneNumbers": 0x00102154,
    "Occupation": 0x00102180,
    "AdditionalPatientHistory": 0x001021B0,
    "PatientComments": 0x00104000,
    "DeviceSerialNumber": 0x00181000,
    "StudyInstanceUID": 0x0020000D,
    "SOPInstanceUID": 0x00080018,
    "StudyID": 0x00200010,
    "ImageComments": 0x00204000,
    "RequestingPhysician": 0x00321032,
    "RequestAttributesSequence": 0x00400275,
    "TextComments": 0x40004000,
}
"""Keyword → tag; the order is that of the bits."""


def tags_met(has: Callable[[int], bool]) -> int:
    """One bit per entry of IDENTIFYING that a header holds with a value.

    >>> tags_met(lambda tag: tag == 0x00080050)
    1
    """
    return sum(1 << bit for bit, tag in enumerate(IDENTIFYING.values()) if has(tag))


def counted(met: pl.Series) -> dict[str, int]:
    """Keyword → number of files that hold it with a value, the absent ones left out. `met`: UInt64, from `tags_met`."""
    known = met.drop_nulls()
    counts = {name: int(((known.cast(pl.UInt64) & (1 << bit)) > 0).sum()) for bit, name in enumerate(IDENTIFYING)}
    return {name: count for name, count in counts.items() if count}


_LARGE, _SHARE = 20, 0.5
"""Among so many images or more, an id with more than this share of them is named in a remark."""
_MOST_DRIFT = 2
"""Years by which a year of birth computed from age and year may differ for one person."""


def with_patients(headers: pl.DataFrame) -> pl.DataFrame:
    """`headers` with `patient_id` as patients: null where the id stands for everybody (`id_of_nobody` is true there),
    and one spelling for an id that is written in two encodings (`id_joined`)."""
    ids = headers["patient_id"].drop_nulls().unique()
    nobody = [one for one in ids if stands_for_nobody(one)]
    same = _same_ids(headers)
    return headers.with_columns(
        pl.col("patient_id").is_in(nobody).fill_null(False).alias("id_of_nobody"),
        pl.col("patient_id").is_in(list(same)).fill_null(False).alias("id_joined"),
        pl.when(~pl.col("patient_id").is_in(nobody)).then(pl.col("patient_id").replace(same)).alias("patient_id"),
    )


def _same_ids(headers: pl.DataFrame) -> dict[str, str]:
    """Id → the id it is when its bytes are read in a character set that other files of the archive declare.

    Of ids in Latin-1 letters that are not ASCII: broken ones, and those of files that declare Latin-1 for whatever they
    hold, as many do.
    """
    known = headers.select("patient_id", "id_broken").drop_nulls("patient_id").unique()
    broken = [one for one in known["patient_id"].unique().sort() if not one.isascii() and _is_latin(one)]
    if not broken:
        return {}
    whole = set(known.filter(~pl.col("id_broken"))["patient_id"])
    sets = headers["character_sets"].drop_nulls().unique().to_list()
    encodings = dict.fromkeys(["utf-8", *(one for listed in sorted(sets) for one in listed.split("\\"))])
    found = {}
    for one in broken:
        read = {text for name in encodings if (text := in_encoding(one, name)) in whole and text != one}
        if len(read) == 1:
            found[one] = read.pop()
    return {str(one): str(text) for one, text in found.items()}


def _is_latin(text: str) -> bool:
    return max(map(ord, text)) < 256


def with_sexes(headers: pl.DataFrame) -> pl.DataFrame:
    """`headers` with `sex` unknown, and `sex_doubted` true, where an M may mean mujer.

    An archive that writes H (hombre, homme) for men, and F less often than H, writes M for women.
    """
    letters = headers["sex_letter"]
    men, women = int((letters == "H").sum()), int((letters == "F").sum())
    doubted = (pl.col("sex_letter") == "M").fill_null(False) & pl.lit(men > women)
    return headers.with_columns(sex=pl.when(~doubted).then("sex"), sex_doubted=doubted)


def patient_remarks(images: pl.DataFrame) -> list[str]:
    """Sentences with counts about the ids of `images` (patient_id, its three marks, sex, age, year)."""
    remarks = []
    if nobody := int(images["id_of_nobody"].sum()):
        remarks.append(
            f"{nobody} of {images.height} images have a PatientID that stands for everybody (a word such as ANONYMOUS, "
            "or zeros): they count as images without a patient, so one person may be on both sides of a split."
        )
    if broken := int((images["id_broken"].fill_null(False) & ~images["id_joined"]).sum()):
        remarks.append(
            f"{broken} of {images.height} images have a PatientID that is broken or not in its declared character set "
            "(0008,0005): one person may count as two, or two as one."
        )
    if joined := int(images["id_joined"].sum()):
        remarks.append(
            f"{joined} images have a PatientID in another character set than declared: joined to the same id."
        )
    return [*remarks, *_several_people(images), *_one_for_most(images)]


def _several_people(images: pl.DataFrame) -> list[str]:
    born = pl.col("year") - pl.col("age").floor()
    people = (
        images.drop_nulls("patient_id")
        .group_by("patient_id")
        .agg(
            pl.len().alias("images"),
            pl.col("sex").filter(pl.col("sex").is_in(["F", "M"])).n_unique().alias("sexes"),
            (born.max() - born.min()).alias("drift"),
        )
    )
    several = people.filter((pl.col("sexes") > 1) | (pl.col("drift") > _MOST_DRIFT))
    if several.is_empty():
        return []
    return [
        f"{several.height} PatientIDs ({several['images'].sum()} images) have images of both sexes, or ages that one "
        "person cannot have: they may stand for several people. Correct them, or name another column in patient_id."
    ]


def _one_for_most(images: pl.DataFrame) -> list[str]:
    known = images["patient_id"].drop_nulls()
    if images.height < _LARGE or known.is_empty():
        return []
    most = int(known.value_counts()["count"].max() or 0)  # type: ignore[arg-type]
    if most <= _SHARE * images.height:
        return []
    return [
        f"{most} of {images.height} images have the same PatientID: it may stand for everybody, or be one person's."
    ]
