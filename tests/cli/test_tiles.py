"""`advassay tiles` as a person types it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from advassay.cli.program import app
from advassay.cli.tiles import COLUMNS
from advassay.sources import index, open_source
from advassay.spec.source_spec import TableSource


def field(path: Path, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(-40, 41, (128, 256, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.clip(np.array([160, 90, 190]) + noise, 0, 255).astype(np.uint8))


@pytest.fixture
def slides(tmp_path: Path) -> Path:
    for number, name in enumerate(("P1-a.png", "P1-b.png", "P2-a.png")):
        field(tmp_path / "slides" / name, number)
    (tmp_path / "slides.csv").write_text("slide,label\nP1-a,tumour\nP1-b,tumour\nP2-a,normal\n")
    return tmp_path / "slides"


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["tiles", *arguments])
    return result.exit_code, result.output


def test_a_slide_without_resolution_names_the_option_that_takes_it(slides: Path, tmp_path: Path) -> None:
    code, said = run(str(slides), "-o", str(tmp_path / "tiles"), "--mpp", "0.5", "--size", "64")
    assert code == 0
    assert "slide left out: no resolution stated: 3 (--assume-mpp UM" in said
    code, said = run(str(slides), "-o", str(tmp_path / "more"), "--size", "64")
    assert "no tile has a class: --table FILE" in said


def test_the_manifest_is_at_once_a_table_source_with_patients(slides: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiles"
    options = ["--size", "64", "--table", str(tmp_path / "slides.csv"), "--patient-pattern", "^(P[0-9]+)"]
    code, said = run(str(slides), "-o", str(out), *options)
    assert code == 0, said
    assert "24 tiles from 3 of 3 slides" in said
    opened = open_source("tiles", TableSource(kind="table", path="tiles/manifest.csv"), tmp_path)
    manifest = index(opened, key=b"k").manifest
    assert manifest.height == 24
    assert manifest["patient_id"].n_unique() == 2
    assert dict(manifest["label"].value_counts().iter_rows()) == {"tumour": 16, "normal": 8}


def test_every_column_that_is_written_is_explained(slides: Path, tmp_path: Path) -> None:
    run(str(slides), "-o", str(tmp_path / "tiles"), "--size", "64")
    written = pl.read_parquet(tmp_path / "tiles" / "manifest.parquet").columns
    assert set(written) == set(COLUMNS) - {"(columns of --table)"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--mpp", "0.5", "--level", "1"], "--mpp or --level"),
        (["--region", "tumour"], "NAME=CLASS"),
        (["--patient-pattern", "P[0-9"], "regular expression"),
        (["--mpp", "-1"], "greater than 0"),
    ],
)
def test_a_wrong_option_says_the_rule_and_the_value(
    slides: Path, tmp_path: Path, options: list[str], words: str
) -> None:
    code, said = run(str(slides), "-o", str(tmp_path / "tiles"), *options)
    assert code == 2
    assert words in said
