"""A planned archive → DIR/dicom in many transfer syntaxes and with defects, DIR/reports.csv and DIR/truth."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import polars as pl
from pydicom import dcmread
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from advassay.csv_export import write_csv
from advassay.errors import SourceError
from advassay.progress import Progress, Silent
from advassay.sources.phantoms.chest.person import persons, positions
from advassay.sources.phantoms.chest.radiograph import attenuation, expose
from advassay.sources.synthetic_archive.archive_plan import ArchivePlan, PlannedFile, PlannedReport, plan_archive
from advassay.store_layout import writing

# ---- a planned file → its pixels and a data set, by the modules of PS3.3 that a radiograph has -----------------------


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


# ---- bytes of a file, and the folder ---------------------------------------------------------------------------------

UIDS: dict[str, UID] = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "rle": RLELossless,
    "jpeg2000": JPEG2000Lossless,
    "jpeg-ls": JPEGLSLossless,
    "jpeg-lossless": JPEGLosslessSV1,
    "no preamble": ImplicitVRLittleEndian,
}
"""`plan.SYNTAXES` → UID (PS3.5, annex A). "no preamble": no file meta information either, as old machines wrote."""

PACKED = ("rle", "jpeg2000", "jpeg-ls", "jpeg-lossless")
"""Those that hold pixels as a compressed stream."""


def encoded(ds: Dataset, syntax: str) -> bytes:
    """The file's bytes. A data set without pixels stays uncompressed whatever `syntax` says."""
    uid = UIDS[syntax]
    if syntax in PACKED:
        return _file(_compressed(ds, syntax), uid) if "PixelData" in ds else _file(ds, ExplicitVRLittleEndian)
    return _file(ds, uid, bare=syntax == "no preamble")


def _file(ds: Dataset, uid: UID, *, bare: bool = False) -> bytes:
    into = BytesIO()
    if bare:
        ds.save_as(into, implicit_vr=True, little_endian=True, enforce_file_format=False)
        return into.getvalue()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid
    ds.save_as(into, enforce_file_format=True)
    return into.getvalue()


def _compressed(ds: Dataset, syntax: str) -> Dataset:
    stream = _jpeg2000(ds) if syntax == "jpeg2000" else _by_gdcm(ds, syntax)
    ds.PixelData = encapsulate([stream])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return ds


def _jpeg2000(ds: Dataset) -> bytes:
    from openjpeg import encode

    colour = ds.SamplesPerPixel == 3
    shape = (ds.Rows, ds.Columns, 3) if colour else (ds.Rows, ds.Columns)
    pixels = np.frombuffer(ds.PixelData, np.uint8 if ds.BitsAllocated == 8 else "<u2").reshape(shape)
    return bytes(
        encode(pixels, bits_stored=ds.BitsStored, photometric_interpretation=1 if colour else 2, use_mct=False)
    )


def _by_gdcm(ds: Dataset, syntax: str) -> bytes:
    """The compressed frame. GDCM works on files, so two are lent to it."""
    import gdcm

    syntaxes = gdcm.TransferSyntax
    wanted = {
        "rle": syntaxes.RLELossless,
        "jpeg-ls": syntaxes.JPEGLSLossless,
        "jpeg-lossless": syntaxes.JPEGLosslessProcess14_1,
    }[syntax]
    with tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder, "plain"), Path(folder, "packed")
        plain.write_bytes(_file(ds, ExplicitVRLittleEndian))
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(plain))
        done = reader.Read()
        change.SetTransferSyntax(syntaxes(wanted))
        change.SetInput(reader.GetImage())
        done = done and change.Change()
        writer.SetFileName(str(packed))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        if not (done and writer.Write()):
            raise RuntimeError(f"GDCM cannot write {syntax} of {ds.Rows} × {ds.Columns} pixels")
        return get_frame(dcmread(packed).PixelData, 0, number_of_frames=1)


NOT_DICOM = b"Viewer settings\nwindow = auto\n" * 20


def damaged(data: bytes, fate: str, image: int) -> bytes:
    """The bytes of a whole file after its fate; fates that are in the tags or the pixels change nothing here."""
    if fate == "empty file":
        return b""
    if fate == "not DICOM":
        return NOT_DICOM
    if fate == "truncated":
        return data[: int(len(data) * 0.6)]
    if fate == "cut short":
        return data[:200]
    if fate == "undecodable":
        return _with_noise(data, image)
    return data


def _with_noise(data: bytes, image: int) -> bytes:
    """The JPEG 2000 code stream (FF 4F FF 51 …, ISO/IEC 15444-1, A.4) overwritten, its length kept."""
    start = data.index(b"\xff\x4f\xff\x51")
    noise = np.random.default_rng(image).integers(0, 255, len(data) - start - 8, np.uint8).tobytes()
    return data[:start] + noise + data[-8:]


VERSION = 1
"""Raised when the same seed would give another archive."""
DICOM, REPORTS, TRUTH = "dicom", "reports.csv", "truth"
_DONE = "archive.json"


def write_archive(folder: Path, *, patients: int, seed: int = 0, progress: Progress | None = None) -> ArchivePlan:
    """Write the archive of `patients` people into `folder`, the same files for the same seed.

    dicom/YEAR/PATIENT/VISIT/…: 16-bit radiographs in eight transfer syntaxes, and the broken and foreign files of
    `plan.FATES`. reports.csv: accession_number, language (en | es | ru), report. truth/files.csv and truth/reports.csv:
    what each file and report is, which no reader of the archive may look at. Where the folder already holds this very
    archive nothing is written. Raises SpecError for fewer than one patient, SourceError for a folder in use.
    """
    plan = plan_archive(patients, seed)
    made = {"version": VERSION, "patients": patients, "seed": seed}
    if _is_there(folder, made):
        return plan
    progress = progress or Silent()
    task = f"write {len(plan.files)} files"
    progress.start(task, len(plan.files), "files")
    for file in plan.files:
        path = folder / DICOM / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file_bytes(file, seed))
        progress.advance(task)
    progress.finish(task)
    write_csv(_reports(plan.reports).select("accession_number", "language", "report"), folder / REPORTS)
    _write_truth(plan, folder / TRUTH)
    with writing(folder / TRUTH / _DONE) as beside:
        beside.write_text(json.dumps(made))
    return plan


def file_bytes(file: PlannedFile, seed: int) -> bytes:
    """The bytes of one planned file."""
    if file.fate in ("empty file", "not DICOM"):
        return damaged(b"", file.fate, file.image)
    ds = dataset(file, picture(file, seed), seed)
    return damaged(encoded(ds, file.syntax), file.fate, file.image)


def _is_there(folder: Path, made: dict[str, int]) -> bool:
    done = folder / TRUTH / _DONE
    if done.is_file() and json.loads(done.read_text()) == made:
        return True
    begun = not done.is_file() and {entry.name for entry in folder.glob("*")} <= {DICOM, REPORTS, TRUTH}
    if folder.exists() and not (folder.is_dir() and (begun or not any(folder.iterdir()))):
        raise SourceError(
            f"--archive: expected a folder that is new or empty, or holds this very archive, got {folder}.",
            "Give another folder, or remove this one.",
        )
    return False


def _reports(reports: tuple[PlannedReport, ...]) -> pl.DataFrame:
    rows = [
        {"accession_number": one.accession_number, "language": one.language, "report": one.text, **one.decisions}
        for one in reports
    ]
    return pl.DataFrame(rows, infer_schema_length=None, schema_overrides={"report": pl.String})


def _write_truth(plan: ArchivePlan, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    files = pl.DataFrame([facts(file) for file in plan.files], infer_schema_length=None)
    write_csv(files, folder / "files.csv")
    told = _reports(plan.reports).with_columns(empty=pl.col("report").is_null()).drop("report")
    write_csv(told, folder / "reports.csv")
