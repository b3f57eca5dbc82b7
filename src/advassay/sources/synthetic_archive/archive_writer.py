"""A planned archive → DIR/dicom in many transfer syntaxes and with defects, DIR/reports.csv and DIR/truth."""

from __future__ import annotations

import json
import tempfile
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from advassay.csv_export import write_csv
from advassay.errors import SourceError
from advassay.progress import Progress, Silent
from advassay.sources.synthetic_archive.archive_plan import ArchivePlan, PlannedFile, PlannedReport, plan_archive
from advassay.sources.synthetic_archive.dicom_datasets import dataset, facts, picture
from advassay.store_layout import writing

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
