"""A planned file → its pixels and a DICOM data set, by the modules of PS3.3 that a radiograph has."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import cv2
import numpy as np
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    SecondaryCaptureImageStorage,
)

from advassay.sources.phantoms.chest.person import persons, positions
from advassay.sources.phantoms.chest.radiograph import attenuation, expose
from advassay.sources.synthetic_archive.archive_plan import PlannedFile


def picture(file: PlannedFile, seed: int) -> np.ndarray:
    """uint16 (rows, columns), bright = dense, filling `file.bits` bits; for `colour` uint8 (rows, columns, 3)."""
    if file.fate == "blank":
        return np.full((file.rows, file.columns), 2 ** (file.bits - 1), np.uint16)
    chest = _chest(file, seed)
    if file.view == "LL":  # no lateral anatomy: a narrow chest will do, since the tag is what counts
        chest = cv2.resize(chest[:, : file.rows // 2], (file.columns, file.rows), interpolation=cv2.INTER_AREA)
    left = (file.rows - file.columns) // 2
    grey = chest[:, left : left + file.columns] if file.view != "LL" else chest
    if file.fate == "colour":
        return _with_writing((grey >> 8).astype(np.uint8))
    if file.fate == "too small":
        grey = cv2.resize(grey, (40, 40), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(grey >> (16 - file.bits))


def _chest(file: PlannedFile, seed: int) -> np.ndarray:
    truth = {
        "age": np.array([float(file.years)]),
        "sex": np.array([file.sex or "F"]),
        "tuberculosis": np.array(["present" if file.tuberculosis else "absent"]),
        "aortic_rotation": np.array(["present" if file.aortic_rotation else "absent"]),
    }
    person = persons(seed, 1.0, np.array([file.number]), truth)
    position = positions(seed, np.array([file.image]))
    return expose(attenuation(person, position, file.rows), position)[0]


def _with_writing(grey: np.ndarray) -> np.ndarray:
    colour = np.repeat(grey[:, :, None], 3, axis=2)
    cv2.putText(colour, "PHANTOM", (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 220, 0), 2)
    return colour


OTHER_MODALITIES = ("CT", "MR", "US")


def dataset(file: PlannedFile, pixels: np.ndarray, seed: int) -> Dataset:
    """The data set of one file. `pixels`: as `pictures.picture` gives them.

    Names and dates of birth are made up and stand where real ones would, so that a pipeline can be shown to drop them.
    """
    ds = Dataset()
    ds.SOPClassUID, ds.Modality = _kind(file)
    ds.SOPInstanceUID = _uid(seed, "image", file.image)
    ds.StudyInstanceUID = _uid(seed, "study", file.accession_number)
    ds.SeriesInstanceUID = _uid(seed, "series", file.image)
    ds.AccessionNumber = file.accession_number
    ds.StudyDate = ds.AcquisitionDate = f"{file.year}0615"
    _patient(ds, file)
    if file.fate == "no image":
        return ds
    ds.BodyPartExamined = "HAND" if file.fate == "other body part" else "CHEST"
    ds.ViewPosition = file.view
    ds.ImageType = ["ORIGINAL", "PRIMARY", *(["LOCALIZER"] if file.fate == "localiser" else [])]
    _image(ds, file, pixels)
    return ds


def _kind(file: PlannedFile) -> tuple[UID, str]:
    if file.fate == "no image":
        return BasicTextSRStorage, "SR"
    if file.fate == "other modality":
        return CTImageStorage, OTHER_MODALITIES[file.image // 8 % len(OTHER_MODALITIES)]
    if file.fate == "colour":
        return SecondaryCaptureImageStorage, "DX"
    if file.image % 2:
        return DigitalXRayImageStorageForPresentation, "DX"
    return ComputedRadiographyImageStorage, "CR"


def _patient(ds: Dataset, file: PlannedFile) -> None:
    ds.PatientName = f"PHANTOM^NUMBER {file.number}"
    ds.PatientID = file.patient_id
    ds.PatientSex = file.sex or ""
    if file.age is not None:  # without an age the date of birth must not give it away
        ds.PatientBirthDate = f"{file.year - file.years}0101"
    if file.age_written is not None:  # illegal values are the point here: written as they are
        ds.add(DataElement(0x00101010, "AS", file.age_written, validation_mode=IGNORE))


def _image(ds: Dataset, file: PlannedFile, pixels: np.ndarray) -> None:
    """Image Pixel module (PS3.3, C.7.6.3); stored values of MONOCHROME1 fall with density."""
    colour = pixels.ndim == 3
    stored = pixels
    if file.photometric == "MONOCHROME1" and not colour:
        stored = (2**file.bits - 1 - pixels).astype(np.uint16)
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.SamplesPerPixel = 3 if colour else 1
    ds.PhotometricInterpretation = "RGB" if colour else file.photometric
    if colour:
        ds.PlanarConfiguration = 0
        ds.BurnedInAnnotation = "YES"
    ds.BitsAllocated = 8 if colour else 16
    ds.BitsStored = 8 if colour else file.bits
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = 0
    ds.ImagerPixelSpacing = [round(350 / file.rows, 4)] * 2  # millimetres; the field is 35 cm high
    if not colour and file.image % 3:
        ds.WindowCenter, ds.WindowWidth = 2 ** (file.bits - 1), 2**file.bits
    ds.PixelData = stored.tobytes()
    ds["PixelData"].VR = "OB" if colour else "OW"


def _uid(seed: int, *content: str | int) -> str:
    """2.25. and a number, as from a UUID (PS3.5, B.2), but the same for the same content."""
    digest = hashlib.sha256(repr((seed, *content)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:15], 'big')}"


def facts(file: PlannedFile) -> Mapping[str, object]:
    """The columns of truth/files.csv."""
    hidden = ("number", "image", "years", "tuberculosis", "aortic_rotation")
    return {name: value for name, value in vars(file).items() if name not in hidden}
