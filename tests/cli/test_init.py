"""`init` writes a study file that loads, whatever it is pointed at."""

from __future__ import annotations

import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from advassay.cli.program import app
from advassay.cohorts.selection import select
from advassay.cohorts.selection_counts import SelectionCounts
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
    with pytest.raises(SpecError, match="classes: expected 2 or more entries, got 1"):
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
    chosen = select(opened.rows, study.cohorts["cases"], SelectionCounts(6))
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


def picture(path: Path, number: int, colour: tuple[int, int, int] | None = None) -> None:
    """A textured picture: grey, or around `colour` (red, green, blue)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texture = np.random.default_rng(number).integers(-30, 30, (40, 40, 1))
    pixels = 120 + texture if colour is None else np.array(colour[::-1]) + texture
    cv2.imwrite(str(path), np.clip(pixels, 0, 255).astype(np.uint8))


def initiated(images: Path, tmp_path: Path) -> tuple[str, str]:
    """(study file, what was said)."""
    file = tmp_path / "study.yaml"
    result = runner.invoke(app, ["init", str(images), "-o", str(file)])
    assert result.exit_code == 0, result.stderr
    load_study(file)
    return file.read_text(), result.stderr


def test_metadata_beside_images_is_the_table_and_keeps_ct_and_lateral_views_out(tmp_path: Path) -> None:
    folder = tmp_path / "covid"
    views = ["PA", "AP", "AP Supine", "L", "Axial"]
    lines = ["patientid,finding,view,modality,filename"]
    for i in range(40):
        picture(folder / "images" / f"{i}.png", i)
        view = views[i % 5]
        finding = "No Finding" if i % 2 else "Pneumonia"
        lines.append(f"{i // 2},{finding},{view},{'CT' if view == 'Axial' else 'X-ray'},{i}.png")
    (folder / "metadata.csv").write_text("\n".join(lines))
    text, said = initiated(folder, tmp_path)
    study = load_study(tmp_path / "study.yaml")
    source, cohort = study.sources["images"], study.cohorts["covid"]
    assert (source.kind, source.path, source.image, source.images) == ("table", "metadata.csv", "filename", "images")
    assert cohort.where["view"].in_ == ("AP", "AP Supine", "PA")
    assert cohort.where["modality"].in_ == ("X-ray",)
    assert "AP 8, AP Supine 8, Axial 8, L 8, PA 8" in text
    assert (cohort.positive, cohort.image_type) == ("Pneumonia", "X-ray")
    assert f"--data {folder}" in said
    opened = open_source("images", source, folder)
    assert select(opened.rows, cohort, SelectionCounts(40)).height == 24


def test_the_folder_of_images_beside_their_table_is_that_table(tmp_path: Path) -> None:
    for i in range(4):
        picture(tmp_path / "set" / "images" / f"{i}.png", i)
    rows = "".join(f"{i}.png,{'ab'[i % 2]}\n" for i in range(4))
    (tmp_path / "set" / "labels.csv").write_text("file,label\n" + rows)
    _, said = initiated(tmp_path / "set" / "images", tmp_path)
    source = load_study(tmp_path / "study.yaml").sources["images"]
    assert (source.kind, source.path, source.images) == ("table", "labels.csv", "images")
    assert f"--data {tmp_path / 'set'}" in said


def test_masks_beside_images_do_not_enter(tmp_path: Path) -> None:
    for name in ("COVID", "Normal"):
        for i in range(6):
            picture(tmp_path / "set" / name / "images" / f"{i}.png", i)
            picture(tmp_path / "set" / name / "masks" / f"{i}.png", i)
    _text, _ = initiated(tmp_path / "set", tmp_path)
    study = load_study(tmp_path / "study.yaml")
    opened = open_source("images", study.sources["images"], tmp_path)
    chosen = select(opened.rows, study.cohorts["set"], SelectionCounts(24))
    assert chosen.height == 12
    assert set(chosen["part"]) == {"images"}
    assert study.cohorts["set"].positive == "COVID"


def test_names_without_ending_in_two_folders_are_found(tmp_path: Path) -> None:
    lines = ["lesion_id,image_id,dx"]
    for i in range(20):
        picture(tmp_path / "ham" / f"part_{i % 2}" / f"ISIC_{i:05}.png", i, (200, 150, 120))
        lines.append(f"L{i // 2},ISIC_{i:05},{('nv', 'mel')[i // 2 % 2]}")
    (tmp_path / "ham" / "metadata.csv").write_text("\n".join(lines))
    _text, said = initiated(tmp_path / "ham" / "metadata.csv", tmp_path)
    source = load_study(tmp_path / "study.yaml").sources["images"]
    assert (source.image, source.images, source.ending, source.patient_id) == ("image_id", ".", ".png", "lesion_id")
    assert "do not exist" not in said
    opened = open_source("images", source, tmp_path / "ham")
    assert all(isinstance(pixels, np.ndarray) for _, pixels in opened.read(range(20)))


@pytest.mark.parametrize(
    ("colour", "image_type"), [(None, "X-ray"), ((200, 110, 170), "histology"), ((210, 150, 110), "photograph")]
)
def test_the_image_type_is_what_the_images_look_like(
    tmp_path: Path, colour: tuple[int, int, int] | None, image_type: str
) -> None:
    for name in ("a", "b"):
        for i in range(4):
            picture(tmp_path / "set" / name / f"{i}.png", i, colour)
    _text, _ = initiated(tmp_path / "set", tmp_path)
    assert load_study(tmp_path / "study.yaml").cohorts["set"].image_type == image_type


@pytest.mark.parametrize(
    ("names", "positive"),
    [
        (("NORMAL", "PNEUMONIA"), "PNEUMONIA"), (("benign", "malignant"), "malignant"),
        (("lung_n", "lung_aca"), "lung_aca"),
        (("control", "case"), "case"), (("No Finding", "Mass"), "Mass"), (("negative", "positive"), "positive"),
        (("a", "b"), None), (("normal", "benign"), None), (("normal", "tb", "cancer"), None),
    ],
)  # fmt: skip
def test_the_positive_class_is_the_one_that_is_a_finding_or_left_out(
    tmp_path: Path, names: tuple[str, ...], positive: str | None
) -> None:
    for name in names:
        picture(tmp_path / "set" / name / "1.png", 1)
    initiated(tmp_path / "set", tmp_path)
    assert load_study(tmp_path / "study.yaml").cohorts["set"].positive == positive


def test_patients_in_names_are_proposed_and_said_on_the_first_screen(tmp_path: Path) -> None:
    for name in ("NORMAL", "PNEUMONIA"):
        for i in range(20):
            picture(tmp_path / "set" / name / f"person{i // 2}{name[0]}_virus_{i}.png", i)
    _text, said = initiated(tmp_path / "set", tmp_path)
    assert "patients are taken from the files' names" in said
    source = load_study(tmp_path / "study.yaml").sources["images"]
    opened = open_source("images", source, tmp_path)
    assert opened.rows["original_patient"].n_unique() == 10


def test_unknown_patients_and_small_classes_are_said_on_the_first_screen(tmp_path: Path) -> None:
    for name, images in (("a", 60), ("b", 3)):
        for i in range(images):
            picture(tmp_path / "set" / name / f"{i}.png", i)
    text, said = initiated(tmp_path / "set", tmp_path)
    assert "Note: no patients are known: the split is by image, and a patient may be on both sides." in said
    assert "few images of b 3" in said
    assert '"b": {"label": ["b"]}   # 3 images  <- few' in text
    assert "<- images are about 40 px: enlarged" in text


def test_files_that_are_not_there_are_said_with_the_first_of_them(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text("image,label\nnowhere/1.png,a\nnowhere/2.png,b\n")
    text, said = initiated(tmp_path / "cases.csv", tmp_path)
    assert f"none of the 2 image files exist; the first missing one is {tmp_path / 'nowhere' / '1.png'}" in said
    assert "<- 2 of 2 files are not there" in text


def test_a_value_of_several_lines_stays_a_comment(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 1)
    rows = "".join(f'a.png,{"xy"[i % 2]},"P\nA: {i % 2}"\n' for i in range(6))
    (tmp_path / "cases.csv").write_text("image,label,projection\n" + rows)
    text, _ = initiated(tmp_path / "cases.csv", tmp_path)
    assert "P A: 0 3, P A: 1 3" in text


def test_a_split_of_folders_is_declared_unless_it_is_unclear_which_part_scores(tmp_path: Path) -> None:
    for parts, split in ((("train", "val", "test"), "declared"), (("train", "validation", "test"), "patient")):
        for part in parts:
            for name in ("normal", "tb"):
                picture(tmp_path / split / part / name / f"{part}.png", len(part))
        file = tmp_path / f"{split}.yaml"
        assert runner.invoke(app, ["init", str(tmp_path / split), "-o", str(file)]).exit_code == 0
        study = load_study(file)
        assert study.sources["images"].folders == ("split", "label")
        assert study.cohorts[split].split == split


@pytest.mark.parametrize(
    ("splits", "patients", "expected"),
    [
        (("train", "test"), "ABCD", "declared"),
        (("train", "test"), "AABB", "patient"),  # A has images in both
        (("train", "val"), "ABCD", "patient"),  # nothing to score on
        (("", ""), "ABCD", "patient"),
        (("train", ""), "ABCD", "patient"),
    ],
)
def test_a_stated_split_is_taken_only_where_it_is_whole_and_parts_no_patient(
    tmp_path: Path, splits: tuple[str, str], patients: str, expected: str
) -> None:
    picture(tmp_path / "a.png", 1)
    rows = "".join(f"a.png,{'xy'[i // 2]},{patients[i]},{splits[i % 2]}\n" for i in range(4))
    (tmp_path / "cases.csv").write_text("image,label,patient_id,split\n" + rows)
    initiated(tmp_path / "cases.csv", tmp_path)
    assert load_study(tmp_path / "study.yaml").cohorts["cases"].split == expected
