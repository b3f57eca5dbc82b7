"""What a path seems to be, for the starter study."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_files import by_opencv, noise, write

from advassay.errors import SourceError
from advassay.sources import describe


def test_a_table_is_understood_by_names_and_content(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv",
        b"Image Index,Patient ID,Finding,Patient Age\n1_000.png,1,tb,40\n1_001.png,1,tb,41\n2_000.png,2,normal,50\n",
    )
    seen = describe(path)
    assert (seen.kind, seen.images, seen.image_column) == ("table", 3, "Image Index")
    assert (seen.label_column, seen.patient_column) == ("Finding", "Patient ID")
    assert list(seen.classes.items()) == [("tb", 2), ("normal", 1)]


def test_an_empty_patient_column_is_passed_over_and_a_label_per_image_is_no_label(tmp_path: Path) -> None:
    rows = "".join(f"{i}.png,,g{i // 2},{'tb' if i % 2 else 'normal'},unique {i}\n" for i in range(30))
    seen = describe(write(tmp_path / "t.csv", b"scan,patient_id,group_id,class,label\n" + rows.encode()))
    assert (seen.image_column, seen.label_column, seen.patient_column) == ("scan", "class", "group_id")


def test_a_folder_per_class_is_counted(tmp_path: Path) -> None:
    for name in ("tb/1.png", "tb/2.png", "normal/3.png"):
        write(tmp_path / name, by_opencv(noise(8, 8)))
    seen = describe(tmp_path)
    assert (seen.kind, seen.label_column, seen.classes) == ("folder", "label", {"tb": 2, "normal": 1})


def test_a_path_that_leads_up_and_down_again_is_read_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/1.png", "b/2.png"):
        write(tmp_path / "images" / name, by_opencv(noise(8, 8)))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert describe(Path("../images")).classes == {"a": 1, "b": 1}


def test_a_table_without_image_paths_is_an_error_that_lists_its_columns(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"There are: \['study', 'age'\]"):
        describe(write(tmp_path / "t.csv", b"study,age\nS1,40\n"))
    with pytest.raises(SourceError):
        describe(tmp_path / "none.csv")


def test_a_table_beside_one_folder_of_images_is_that_table_though_no_column_is_called_a_label(tmp_path: Path) -> None:
    for number in range(4):
        write(tmp_path / "images" / f"{number}.png", by_opencv(noise(8, 8)))
    rows = "".join(f"images/{i}.png,p{i // 2},{'present' if i % 2 else 'absent'}\n" for i in range(4))
    write(tmp_path / "manifest.csv", b"image,patient_id,tuberculosis\n" + rows.encode())
    seen = describe(tmp_path)
    assert (seen.kind, seen.images, seen.patient_column, seen.classes) == ("table", 4, "patient_id", {})
