"""`init` writes a study file that loads, whatever it is pointed at."""

from __future__ import annotations

import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from advassay.cli.program import app
from advassay.cohorts.flow import Flow
from advassay.cohorts.selection import select
from advassay.errors import SpecError
from advassay.sources import open_source
from advassay.study import load_study

runner = CliRunner()


def draw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((8, 8), 7, np.uint8))


def test_a_folder_per_class_becomes_a_study(tmp_path: Path) -> None:
    for name in ("tumour: high", "no"):
        draw(tmp_path / "my images" / name / "1.png")
    file = tmp_path / "study.yaml"
    result = runner.invoke(app, ["init", str(tmp_path / "my images"), "-o", str(file)])
    assert result.exit_code == 0, result.stderr
    study = load_study(file)
    (cohort,) = study.cohorts.values()
    assert set(cohort.classes) == {"tumour: high", "no"}
    assert study.name == "my-images"
    assert list(study.attack.arms) == ["A", "B", "C"]
    assert study.training.learning_rate == 1e-3
    assert "each image counts as its own patient" in file.read_text()
    assert "no patients known: in effect a split by image" in file.read_text()


def test_a_tables_columns_are_found(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    rows = ["file,patient,diagnosis", "a.png,1,yes", "a.png,2,no"]
    (tmp_path / "cases.csv").write_text("\n".join(rows))
    file = tmp_path / "study.yaml"
    assert runner.invoke(app, ["init", str(tmp_path / "cases.csv"), "-o", str(file)]).exit_code == 0
    source = load_study(file).sources["images"]
    assert (source.kind, source.image, source.patient_id) == ("table", "file", "patient")
    assert load_study(file).cohorts["cases"].classes["yes"]["diagnosis"].in_ == ("yes",)


@pytest.mark.parametrize(
    ("column", "values"),
    [("length", ("1.5", "2.5")), ("label", ("sick", "sick")), ("label", tuple(map(str, range(40))))],
)
def test_a_table_without_classes_gets_none_invented(tmp_path: Path, column: str, values: tuple[str, ...]) -> None:
    draw(tmp_path / "a.png")
    (tmp_path / "cases.csv").write_text(f"file,{column}\n" + "".join(f"a.png,{value}\n" for value in values))
    file = tmp_path / "study.yaml"
    result = runner.invoke(app, ["init", str(tmp_path / "cases.csv"), "-o", str(file)])
    assert "Note: no column called label, class, diagnosis" in result.stderr
    assert "<- no such column was found" in file.read_text()
    with pytest.raises(SpecError, match="classes: entries are needed here, none is written"):
        load_study(file)


def test_one_class_is_written_alone_and_the_missing_one_is_told(tmp_path: Path) -> None:
    draw(tmp_path / "images" / "sick" / "1.png")
    file = tmp_path / "study.yaml"
    result = runner.invoke(app, ["init", str(tmp_path / "images"), "-o", str(file)])
    assert result.exit_code == 0
    assert 'Note: a second class is missing, all images are of "sick"' in result.stderr
    with pytest.raises(SpecError, match="classes: 2 or more entries are needed, got 1"):
        load_study(file)
    second = '      "well": {"label": ["well"]}\n    # positive'
    file.write_text(file.read_text().replace("    # positive", second, 1))
    assert set(load_study(file).cohorts["images"].classes) == {"sick", "well"}


def test_folders_of_a_split_are_not_taken_for_classes_in_silence(tmp_path: Path) -> None:
    for part in ("train", "test"):
        draw(tmp_path / "images" / part / f"{part}.png")
    result = runner.invoke(app, ["init", str(tmp_path / "images"), "-o", str(tmp_path / "study.yaml")])
    assert "Note: these look like a split, not like classes: point init at one of them" in result.stderr


def test_a_file_that_exists_is_not_overwritten(tmp_path: Path) -> None:
    draw(tmp_path / "images" / "a" / "1.png")
    file = tmp_path / "study.yaml"
    file.write_text("mine")
    result = runner.invoke(app, ["init", str(tmp_path / "images"), "-o", str(file)])
    assert result.exit_code == 2
    assert file.read_text() == "mine"


@pytest.mark.parametrize("name", ["-x", "a b", ""])
def test_a_name_no_study_can_have_is_refused(tmp_path: Path, name: str) -> None:
    draw(tmp_path / "images" / "a" / "1.png")
    file = tmp_path / "study.yaml"
    result = runner.invoke(app, ["init", str(tmp_path / "images"), "-o", str(file), f"--name={name}"])
    assert result.exit_code == 2
    assert not file.exists()


@pytest.mark.parametrize(
    "labels", [("0", "1"), ("True", "False"), ("0.5", "1.5"), ("007", "1"), ("yes", "no"), ("a: b", "#")]
)
def test_labels_of_any_type_are_selected_by_the_rules_that_init_writes(tmp_path: Path, labels: tuple[str, str]) -> None:
    draw(tmp_path / "a.png")
    rows = ["image,label", *(f"a.png,{labels[i % 2]}" for i in range(6))]
    (tmp_path / "cases.csv").write_text("\n".join(rows))
    file = tmp_path / "study.yaml"
    assert runner.invoke(app, ["init", str(tmp_path / "cases.csv"), "-o", str(file)]).exit_code == 0
    study = load_study(file)
    opened = open_source("images", study.sources["images"], tmp_path)
    chosen = select(opened.rows, study.cohorts["cases"], Flow(6))
    assert set(chosen["class_name"].value_counts().rows()) == {(name, 3) for name in study.cohorts["cases"].classes}
    assert study.cohorts["cases"].positive is None
    assert "# positive: " in file.read_text()


def test_the_commands_it_names_can_be_pasted_whatever_the_folder_is_called(tmp_path: Path) -> None:
    folder = tmp_path / "it's my; $folder"
    draw(folder / "images" / "a" / "1.png")
    draw(folder / "images" / "b" / "2.png")
    file = folder / "a study.yaml"
    printed = runner.invoke(app, ["init", str(folder / "images"), "-o", str(file)])
    text = (printed.stdout + printed.stderr).splitlines() + file.read_text().splitlines()
    commands = [line.strip("# ") for line in text if line.strip("# ").startswith(("advassay plan", "advassay run"))]
    assert len(commands) == 3
    for command in commands:
        assert shlex.split(command)[2:5] == [str(file), "--data", str(folder)]
