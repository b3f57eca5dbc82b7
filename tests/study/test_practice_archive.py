"""A made-up archive that is too small for the shipped study says how many people that study takes."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from advassay.cli.program import app
from advassay.study import load_study
from advassay.study.config.practice_archive import check_archive

STUDY = Path(__file__).parents[2] / "studies" / "archive-example.yaml"


def test_the_number_that_is_named_suffices_and_one_that_is_too_small_does_not():
    study = load_study(STUDY, overrides=["archive=x"])
    small = check_archive(study, "archive", 60, 0)
    assert small is not None
    assert "X-NR3" in small.cohorts
    assert small.patients is not None
    assert check_archive(study, "archive", small.patients, 0) is None


def test_the_verb_says_so_after_writing(tmp_path):
    made = CliRunner().invoke(app, ["phantoms", "--archive", str(tmp_path / "a"), "--patients", "2", "-q"])
    assert made.exit_code == 0
    assert "Too small for studies/archive-example.yaml, which takes --patients" in made.stderr
    assert "X-NR2: " in made.stderr
