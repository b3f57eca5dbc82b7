"""DICOM files of every make for the tests of this room: whole, odd and broken."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRBigEndian,
    JPEGBaseline8Bit,
    generate_uid,
)

from advassay.sources.synthetic_archive.archive_writer import encoded

NAME, PATIENT, ACCESSION, BIRTH = "SECRETSON^OLGA", "MRN-77123456", "ACC-99887766", "19610203"


def picture(rows: int = 240, columns: int = 220, bits: int = 12, seed: int = 0) -> np.ndarray:
    """A smooth uint16 picture that uses the whole range of `bits`."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((8, 8)).astype(np.float32)
    fine = cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC)
    unit = (fine - fine.min()) / (fine.max() - fine.min())
    return np.rint(unit * (2**bits - 1)).astype(np.uint16)


def radiograph(pixels: np.ndarray | None = None, *, bits: int = 12, **tags: Any) -> Dataset:
    """An uncompressed chest radiograph, PA. `tags`: by keyword; None removes one; values are written unchecked."""
    pixels = picture(bits=bits) if pixels is None else pixels
    signed = np.issubdtype(pixels.dtype, np.signedinteger)
    ds = Dataset()
    declared = {
        "SOPClassUID": ComputedRadiographyImageStorage,
        "SOPInstanceUID": generate_uid(entropy_srcs=[pixels.tobytes().hex()[:999], repr(sorted(tags.items()))]),
        "StudyInstanceUID": "1.2.3.4.5",
        "SeriesInstanceUID": "1.2.3.4.5.6",
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "Modality": "CR",
        "StudyDate": "20190615",
        "AccessionNumber": ACCESSION,
        "PatientName": NAME,
        "PatientID": PATIENT,
        "PatientBirthDate": BIRTH,
        "PatientSex": "F",
        "PatientAge": "058Y",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": 8 * pixels.dtype.itemsize,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(signed),
        **tags,
    }
    for keyword, value in declared.items():
        if value is not None:
            ds.add(DataElement(Tag(keyword), _vr(keyword), value, validation_mode=IGNORE))
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OW" if ds.BitsAllocated == 16 else "OB"
    return ds


def _vr(keyword: str) -> str:
    from pydicom.datadict import dictionary_VR

    return dictionary_VR(keyword)


def file_bytes(ds: Dataset, syntax: str = "explicit") -> bytes:
    """`ds` as a file. syntax: a key of archive.encoding.UIDS, "big endian" or "jpeg" (baseline, 8 bits)."""
    if syntax == "big endian":
        return _saved(_swapped(ds), ExplicitVRBigEndian)
    if syntax == "jpeg":
        grey = np.frombuffer(ds.PixelData, np.uint8).reshape(ds.Rows, ds.Columns)
        stream = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
        ds.PixelData = encapsulate([stream])
        ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
        return _saved(ds, JPEGBaseline8Bit)
    return encoded(ds, syntax)


def _swapped(ds: Dataset) -> Dataset:
    if ds.BitsAllocated == 16:
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
    return ds


def _saved(ds: Dataset, uid: Any) -> bytes:
    into = BytesIO()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid
    ds.save_as(into, enforce_file_format=True)
    return into.getvalue()


def write(folder: Path, **files: bytes) -> Path:
    """Write NAME.dcm for each keyword into `folder`, made if needed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / f"{name}.dcm").write_bytes(data)
    return folder
