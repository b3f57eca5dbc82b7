"""Which tags point at a person, and the check that nothing of them went along.

The list is the part of PS3.15 Table E.1-1 (Basic Application Level Confidentiality Profile) that radiograph headers
hold. Of each only "there with a value" is kept, one bit a tag; names, birth dates and texts never leave the reader.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

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
