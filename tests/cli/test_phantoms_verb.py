"""`advassay phantoms`: an archive or single images, and never both."""

from __future__ import annotations

import polars as pl
from typer.testing import CliRunner

from advassay.cli.program import app


def test_single_images_come_with_a_manifest_that_a_study_can_read(tmp_path):
    made = CliRunner().invoke(app, ["phantoms", "-o", str(tmp_path / "out"), "--images", "3", "--size-px", "32", "-q"])
    assert made.exit_code == 0, made.output
    manifest = pl.read_csv(tmp_path / "out" / "manifest.csv")
    assert manifest.columns[:2] == ["image", "patient_id"]
    assert all((tmp_path / "out" / image).is_file() for image in manifest["image"])


def test_a_share_of_the_patients_has_tuberculosis(tmp_path):
    options = ["--images", "40", "--size-px", "32", "--tuberculosis", "0.5", "--signal", "2", "-q"]
    assert CliRunner().invoke(app, ["phantoms", "-o", str(tmp_path / "out"), *options]).exit_code == 0
    found = pl.read_csv(tmp_path / "out" / "manifest.csv")["tuberculosis"]
    assert 8 < (found == "present").sum() < 32


def test_one_of_archive_and_output_is_needed():
    assert CliRunner().invoke(app, ["phantoms"]).exit_code == 2
    assert CliRunner().invoke(app, ["phantoms", "--archive", "a", "-o", "b"]).exit_code == 2


def test_an_archive_is_written_with_its_truth_beside_it(tmp_path):
    made = CliRunner().invoke(app, ["phantoms", "--archive", str(tmp_path / "a"), "--patients", "1", "-q"])
    assert made.exit_code == 0, made.output
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"dicom", "reports.csv", "truth"}
