"""The made-up archive: the same bytes for the same seed, every fate and form in it, and a truth that is its own."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian

from advassay.errors import SourceError, SpecError
from advassay.sources.reports import LABELS, label_reports
from advassay.sources.synthetic_archive import plan_archive, write_archive
from advassay.sources.synthetic_archive.archive_plan import FILE_DEFECTS, ILLEGAL, KEPT, LEGAL, SAYS_NOTHING, SYNTAXES
from advassay.sources.synthetic_archive.archive_writer import DICOM, REPORTS, TRUTH, UIDS, picture

PATIENTS = 55


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("advassay.sources.synthetic_archive.archive_plan.SIDES", (64, 80))
        patch.setattr("advassay.sources.synthetic_archive.archive_plan.LARGE", 128)
        write_archive(folder, patients=PATIENTS)
        yield folder


def _digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(archive, tmp_path):
    plans = [write_archive(tmp_path / name, patients=3, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    assert _digest(tmp_path / "a") == _digest(tmp_path / "b") != _digest(tmp_path / "c")
    assert plans[0] == plans[1] != plans[2]


def test_a_larger_archive_begins_with_the_patients_of_a_smaller_one():
    small, large = plan_archive(5), plan_archive(12)
    assert large.files[: len(small.files)] == small.files
    assert large.reports[: len(small.reports)] == small.reports


def test_a_small_archive_has_every_fate_syntax_language_and_form_of_age():
    plan = plan_archive(500)
    assert {file.fate for file in plan_archive(PATIENTS).files} == {KEPT, *FILE_DEFECTS}
    assert {file.syntax for file in plan.files} == set(SYNTAXES) == set(UIDS)
    assert {file.photometric for file in plan.files} == {"MONOCHROME1", "MONOCHROME2"}
    assert {report.language for report in plan.reports} == {"en", "es", "ru"}
    forms = {form(file.years) for file in plan.files for form in (*LEGAL, *ILLEGAL)}
    assert {file.age_written for file in plan.files} <= forms | set(SAYS_NOTHING)
    assert set(SAYS_NOTHING) <= {file.age_written for file in plan.files if file.age is None}
    visits = Counter(file.patient_id for file in plan.files)
    assert max(visits.values()) > 2
    decisions = {(name, said) for report in plan.reports for name, said in report.decisions.items()}
    findings = set(LABELS) - {"norm"}
    assert {(name, said) for name in findings for said in ("present", "absent", "uncertain")} <= decisions


def test_every_whole_file_decodes_to_the_picture_it_was_made_from(archive):
    plan = plan_archive(PATIENTS)
    whole = [file for file in plan.files if file.fate in (KEPT, "lateral", "duplicate", "blank", "localiser")]
    assert {file.syntax for file in whole} == set(SYNTAXES)
    for file in whole:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom speaks of the ages that are illegal on purpose
            ds = pydicom.dcmread(archive / DICOM / file.path, force=True)
            if file.syntax == "no preamble":
                ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
            assert ds.file_meta.TransferSyntaxUID == UIDS[file.syntax]
            stored = ds.pixel_array
        drawn = picture(file, 0)
        assert np.array_equal(stored, 2**file.bits - 1 - drawn if file.photometric == "MONOCHROME1" else drawn)


def test_the_reports_say_what_the_truth_states(archive):
    table = pl.read_csv(archive / REPORTS)
    labelled = label_reports(table, text=["report"], id="accession_number", language_column="language").frame
    truth = pl.read_csv(archive / TRUTH / "reports.csv").filter(~pl.col("empty"))
    assert labelled.height == truth.height > 50
    both = labelled.join(truth, on="accession_number", suffix="_true")
    for name in LABELS:
        assert both[name].to_list() == both[f"{name}_true"].to_list(), name


def test_a_finished_archive_is_kept_and_a_folder_in_use_is_refused(archive, tmp_path):
    before = _digest(archive)
    write_archive(archive, patients=PATIENTS)
    assert _digest(archive) == before
    with pytest.raises(SourceError, match="--archive: expected a folder that is new or empty"):
        write_archive(archive, patients=PATIENTS + 1)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SourceError, match="--archive"):
        write_archive(tmp_path, patients=1)
    with pytest.raises(SpecError, match="--patients: at least 1, got 0"):
        write_archive(tmp_path / "new", patients=0)
