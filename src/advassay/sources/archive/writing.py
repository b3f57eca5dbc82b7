"""Write a made-up archive: DIR/dicom, DIR/reports.csv, and what is true of them in DIR/truth."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from advassay.csv_export import write_csv
from advassay.errors import SourceError
from advassay.layout import writing
from advassay.progress import Progress, Silent
from advassay.sources.archive.dataset import dataset, facts
from advassay.sources.archive.encoding import encoded
from advassay.sources.archive.faults import damaged
from advassay.sources.archive.pictures import picture
from advassay.sources.archive.plan import ArchivePlan, PlannedFile, PlannedReport, plan_archive

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
            f"--archive: a folder that is new or empty, or holds this very archive, is needed, got {folder}.",
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
