"""Levels of folders, patients in names, image folders of tables: how other people's images lie on a disk."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from image_files import by_opencv, noise, write
from pydantic import ValidationError

from advassay.errors import SourceError
from advassay.sources import open_source
from advassay.sources.file_paths import missing_files, require_files
from advassay.sources.folder_conventions import guess_levels, propose_pattern
from advassay.spec.source_spec import FolderSource, TableSource, names_patients


@pytest.mark.parametrize(
    ("files", "levels"),
    [
        (["ill/1.png", "well/2.png"], ("label",)),
        (["train/ill/1.png", "test/well/2.png"], ("split", "label")),
        (["Training/glioma/1.png", "Testing/notumor/2.png"], ("split", "label")),
        (["COVID/images/1.png", "COVID/masks/1.png", "Normal/images/1.png"], ("label", "part")),
        (["lung/lung_aca/1.png", "lung/lung_n/2.png", "colon/colon_n/2.png"], ("group", "label")),
        ([f"{p}/{c}/{p}_x.png" for p in range(8860, 8870) for c in (0, 1)], ("patient_id", "label")),
        (["x/benign/40X/1.png", "x/malignant/100X/2.png"], ("-", "label", "magnification")),
        (["0/1.png", "1/1.png", "2/1.png", "3/1.png", "4/1.png"], ("label",)),
        (["train/1.png", "test/2.png"], ("label",)),
    ],
)
def test_levels_of_folders_are_told_apart_by_their_names(files: list[str], levels: tuple[str, ...]) -> None:
    assert guess_levels(files) == levels


def test_each_level_of_folders_becomes_the_column_it_is_called(tmp_path: Path) -> None:
    for name in ("train/ill/p1/1.png", "train/well/p2/2.png", "test/ill/p3/3.png", "test/loose.png"):
        write(tmp_path / "films" / name, by_opencv(noise(8, 8)))
    source = FolderSource(kind="folder", path="films", folders=("split", "label", "patient_id"))
    opened = open_source("films", source, tmp_path)
    found = opened.rows.select("split", "label", "original_patient").rows()
    assert found == [("test", "ill", "p3"), ("train", "ill", "p1"), ("train", "well", "p2")]
    assert opened.left_out["reason"].to_list() == ["no class folder"]
    assert names_patients(source)
    assert "patient_id" not in opened.rows.columns


@pytest.mark.parametrize("folders", [["split"], ["label", "label"], ["label", "path"], []])
def test_folders_that_name_no_class_or_our_own_columns_are_refused(folders: list[str]) -> None:
    with pytest.raises(ValidationError):
        FolderSource(kind="folder", path="films", folders=folders)


@pytest.mark.parametrize(
    ("names", "patients"),
    [
        ([f"person{n // 4}_bacteria_{n}.jpeg" for n in range(40)], 10),
        ([f"{n // 3:08}_{n % 3:03}.png" for n in range(30)], 10),
        ([f"SOB_B_A-14-{22000 + n // 8}{'AB'[n % 2]}-40-{n:03}.png" for n in range(40)], 5),
        ([f"TCGA-A1-{n // 5:04}-01Z-00-DX{n % 5}.png" for n in range(50)], 10),
        ([f"{8860 + n // 6}_idx5_x{n}_y51_class0.png" for n in range(60)], 10),
        ([f"MCUCXR_{n:04}_0.png" for n in range(40)], None),
        ([f"{n}.png" for n in range(40)], None),
        ([f"COVID-{n}.png" for n in range(40)], None),
        ([f"covid-19_{n}.png" for n in range(40)], None),
        ([f"x{n % 8}_y{n}.png" for n in range(40)], None),
        ([f"{2015 + n % 5}_{n}.png" for n in range(40)], None),
    ],
)
def test_a_part_of_names_is_proposed_as_patient_only_where_it_repeats(names: list[str], patients: int | None) -> None:
    found = propose_pattern(pl.Series(names))
    assert (found and found.patients) == patients


def test_patients_of_folders_and_tables_come_from_names_where_nothing_else_says_them(tmp_path: Path) -> None:
    for name in ("ill/person1_a_1.png", "ill/person1_b_2.png", "well/IM-3.png"):
        write(tmp_path / "films" / name, by_opencv(noise(8, 8)))
    pattern = "^(person[0-9]+)_"
    folder = open_source("f", FolderSource(kind="folder", path="films", patient_pattern=pattern), tmp_path)
    assert folder.rows["original_patient"].to_list() == ["person1", "person1", None]
    write(tmp_path / "t.csv", b"image,patient_id\nfilms/ill/person1_a_1.png,\nfilms/ill/person1_b_2.png,A\n")
    table = open_source("t", TableSource(kind="table", path="t.csv", patient_pattern=pattern), tmp_path)
    assert table.rows["original_patient"].to_list() == ["person1", "A"]


def test_a_pattern_with_a_slash_is_looked_for_in_the_whole_path(tmp_path: Path) -> None:
    for name in ("ill/p1/1.png", "well/p2/2.png"):
        write(tmp_path / "films" / name, by_opencv(noise(8, 8)))
    source = FolderSource(kind="folder", path="films", patient_pattern="/(p[0-9])/")
    assert open_source("f", source, tmp_path).rows["original_patient"].to_list() == ["p1", "p2"]


@pytest.mark.parametrize("pattern", ["person[0-9]+", "(unclosed"])
def test_a_pattern_without_a_group_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationError, match="patient_pattern: expected a"):
        TableSource(kind="table", path="t.csv", patient_pattern=pattern)


def test_a_source_without_the_new_fields_is_written_as_before() -> None:
    table = TableSource(kind="table", path="t.csv").model_dump()
    assert set(table) == {"image_type", "patient_id", "kind", "path", "image"}
    assert set(FolderSource(kind="folder", path="f").model_dump()) == {"image_type", "patient_id", "kind", "path"}


def test_names_of_a_table_are_found_below_its_folder_of_images(tmp_path: Path) -> None:
    for name in ("part_1/a.png", "part_2/deep/b.png", "part_1/twice.png", "part_2/twice.png"):
        write(tmp_path / "pictures" / name, by_opencv(noise(8, 8)))
    write(tmp_path / "tables" / "t.csv", b"image\na\nb\ntwice\nnone\n../t\n")
    source = TableSource(kind="table", path="tables/t.csv", images="pictures", ending=".png")
    opened = open_source("t", source, tmp_path)
    assert opened.rows["path"].to_list() == ["part_1/a.png", "part_2/deep/b.png", "none.png"]
    assert opened.left_out["reason"].to_list() == ["several files of this name", "outside the folder"]
    read = {row: getattr(pixels, "reason", "read") for row, pixels in opened.read([0, 1, 3])}
    assert read == {0: "read", 1: "read", 3: "missing"}


def test_missing_files_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.png", by_opencv(noise(8, 8)))
    write(tmp_path / "t.csv", b"image\nb.png\na.png\nc.png\n")
    opened = open_source("t", TableSource(kind="table", path="t.csv"), tmp_path)
    lost = missing_files(opened, opened.rows["row"])
    assert lost is not None
    assert (lost.count, lost.files, lost.first) == (2, 3, tmp_path / "b.png")
    assert require_files(opened, opened.rows["row"]) == lost
    assert missing_files(opened, pl.Series([1])) is None
    with pytest.raises(SourceError, match=r"got none of 2; the first missing one is .*b\.png"):
        require_files(opened, pl.Series([0, 2]))


def test_images_numbered_anew_in_every_class_are_not_taken_for_patients() -> None:
    names = pl.Series([f"{label}/{n}.png" for label in ("norm", "tb") for n in range(24)])
    assert propose_pattern(names) is None
