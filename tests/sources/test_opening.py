"""A source as a study names it becomes rows; what is wrong with the whole source is said with the way out."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from image_files import by_opencv, noise, write

from advassay.errors import SourceError
from advassay.sources import OpenSource, Unreadable, open_source
from advassay.sources.base import prefetch
from advassay.sources.table_files import read_table
from advassay.spec.source_spec import FolderSource, NpzSource, PhantomSource, TableSource


def table(folder: Path, text: str, **options: str) -> OpenSource:
    write(folder / "t.csv", text.encode())
    return open_source("films", TableSource(kind="table", path="t.csv", **options), folder)


def failure(folder: Path, text: str, **options: str) -> SourceError:
    with pytest.raises(SourceError) as caught:
        table(folder, text, **options)
    return caught.value


# --- tables ---------------------------------------------------------------------------------------------------------


def test_ids_stay_text_and_numbers_lose_nothing(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv",
        b"image,patient_id,slide_id,age,weight,code,uid_like,exposure,pregnant,note\n"
        b"a.png,007,1,45,70.5,007,12345678901234567890,1E5,true,\n"
        b"b.png,12,2,,71,12,5,2E5,False, \n",
    )
    frame = read_table(path, text=frozenset({"image", "patient_id"}))
    assert frame.to_dicts() == [
        {
            **{"image": "a.png", "patient_id": "007", "slide_id": "1", "age": 45, "weight": 70.5, "code": "007"},
            **{"uid_like": "12345678901234567890", "exposure": "1E5", "pregnant": True, "note": None},
        },
        {
            **{"image": "b.png", "patient_id": "12", "slide_id": "2", "age": None, "weight": 71.0, "code": "12"},
            **{"uid_like": "5", "exposure": "2E5", "pregnant": False, "note": None},
        },
    ]


def test_a_column_that_turns_into_text_after_ten_thousand_rows_does_not_crash(tmp_path: Path) -> None:
    rows = [f"{i}.png,{i}" for i in range(10_000)] + ["x.png,058Y"]
    opened = table(tmp_path, "image,age\n" + "\n".join(rows))
    assert opened.rows["age"].dtype == pl.String
    assert opened.rows["age"][-1] == "058Y"


@pytest.mark.parametrize(
    "text", ["image;label\na.png;tb\n", "\ufeffimage,label\na.png,tb\n", "image\tlabel\r\na.png\ttb\r\n"]
)
def test_semicolons_tabs_and_a_byte_order_mark_are_read(tmp_path: Path, text: str) -> None:
    assert table(tmp_path, text).rows.select("path", "label").rows() == [("a.png", "tb")]


def test_parquet_gives_the_same_rows_as_csv_without_nested_columns(tmp_path: Path) -> None:
    frame = pl.DataFrame({"image": ["a.png", " "], "label": ["tb", ""], "bytes": [b"1", b"2"], "list": [[1], [2]]})
    frame.write_parquet(tmp_path / "t.parquet")
    opened = open_source("films", TableSource(kind="table", path="t.parquet"), tmp_path)
    assert opened.rows.columns == ["row", "path", "original_patient", "image_type", "label"]
    assert opened.rows["path"].to_list() == ["a.png"]
    assert opened.left_out["reason"].to_list() == ["no image path"]


def test_own_columns_come_first_and_a_table_cannot_overwrite_them(tmp_path: Path) -> None:
    opened = table(tmp_path, "image,patient_id,row,image_type\na.png,P1,9,CT\nb.png,,8,\n", image_type="X-ray")
    assert opened.rows.columns == ["row", "path", "original_patient", "image_type", "patient_id", "table_row"]
    assert opened.rows.rows() == [(0, "a.png", "P1", "CT", "P1", 9), (1, "b.png", None, "X-ray", None, 8)]


def test_a_row_whose_path_leaves_the_folder_is_left_out_and_counted(tmp_path: Path) -> None:
    inside = tmp_path / "a.png"
    opened = table(tmp_path, f'image\n{inside}\n/etc/passwd\n../t.csv\n""\nx/../b.png\nx/../../c.png\n')
    assert opened.rows["row"].to_list() == [0, 4]
    assert opened.left_out.select("row", "reason").rows() == [
        (1, "outside the folder"),
        (2, "outside the folder"),
        (3, "no image path"),
        (5, "outside the folder"),
    ]


def test_a_table_without_any_usable_row_is_an_error(tmp_path: Path) -> None:
    assert "got none of 1 rows" in failure(tmp_path, "image\n/etc/passwd\n").problem


def test_a_wrong_column_is_named_with_the_columns_there_are(tmp_path: Path) -> None:
    error = failure(tmp_path, "image,label\na.png,tb\n", patient_id="grop_id")
    assert "sources.films.patient_id" in error.problem
    assert "'grop_id'" in error.problem
    assert error.fix == "There are: ['image', 'label']."
    assert "sources.films.image" in failure(tmp_path, "file\na.png\n").problem


@pytest.mark.parametrize("data", [b"", b"image\n\xff\xfe.png\n", b"image,label\na.png,b,c,d\n", b"a,a\n1,2,3\n"])
def test_a_table_that_cannot_be_read_is_an_error_with_a_fix(tmp_path: Path, data: bytes) -> None:
    write(tmp_path / "t.csv", data)
    with pytest.raises(SourceError) as caught:
        open_source("films", TableSource(kind="table", path="t.csv"), tmp_path)
    assert caught.value.fix


def test_paths_are_relative_to_the_data_folder_or_absolute_as_written(tmp_path: Path) -> None:
    write(tmp_path / "deep" / "t.csv", b"image\na.png\n")
    write(tmp_path / "deep" / "a.png", by_opencv(noise(8, 8)))
    for path, data in (("deep/t.csv", tmp_path), (str(tmp_path / "deep" / "t.csv"), None)):
        opened = open_source("films", TableSource(kind="table", path=path), data)
        assert not isinstance(next(opened.read([0]))[1], Unreadable)
    with pytest.raises(SourceError, match="Give --data"):
        open_source("films", TableSource(kind="table", path="deep/t.csv"), None)
    with pytest.raises(SourceError, match="no such table"):
        open_source("films", TableSource(kind="table", path="other.csv"), tmp_path)


# --- folders --------------------------------------------------------------------------------------------------------


def test_a_folder_per_class_gives_labels_and_leaves_strangers_out(tmp_path: Path) -> None:
    for name in ("tb/2.png", "tb/deep/1.JPG", "normal/3.tiff", "normal/.hidden.png", ".git/x.png"):
        write(tmp_path / "films" / name, by_opencv(noise(8, 8)))
    write(tmp_path / "films" / "normal" / "notes.txt", b"Mr Smith")
    write(tmp_path / "films" / "stray.png", b"")
    opened = open_source("films", FolderSource(kind="folder", path="films"), tmp_path)
    assert opened.rows.select("row", "path", "label").rows() == [
        (0, "normal/3.tiff", "normal"),
        (1, "tb/2.png", "tb"),
        (2, "tb/deep/1.JPG", "tb"),
    ]
    assert opened.left_out.rows() == [
        (None, "not an image", "the file name ends in '.txt'"),
        (None, "no class folder", "the file lies beside the class folders"),
    ]


@pytest.mark.parametrize("make", ["nothing", "empty folder", "only strays"])
def test_a_folder_without_classes_is_an_error(tmp_path: Path, make: str) -> None:
    if make != "nothing":
        (tmp_path / "films").mkdir()
    if make == "only strays":
        write(tmp_path / "films" / "stray.png", by_opencv(noise(8, 8)))
    with pytest.raises(SourceError, match=r"sources\.films\.path"):
        open_source("films", FolderSource(kind="folder", path="films"), tmp_path)


# --- npz ------------------------------------------------------------------------------------------------------------


def medmnist(path: Path, **changes: np.ndarray) -> Path:
    arrays = {}
    for number, part in enumerate(("train", "val", "test")):
        arrays[f"{part}_images"] = noise(3, 8, 8, seed=number)
        arrays[f"{part}_labels"] = np.array([[0], [1], [0]], np.uint8)
    np.savez_compressed(path, **{**arrays, **changes})
    return path


def test_an_npz_gives_split_label_and_exactly_its_pixels(tmp_path: Path) -> None:
    medmnist(tmp_path / "m.npz")
    opened = open_source("m", NpzSource(kind="npz", path="m.npz", image_type="X-ray"), tmp_path)
    assert opened.rows["split"].to_list() == ["training"] * 3 + ["tuning"] * 3 + ["validation"] * 3
    assert opened.rows["label"].to_list() == ["0", "1", "0"] * 3
    wanted = [8, 0, 4]
    seen = list(opened.read(wanted))
    assert [row for row, _ in seen] == wanted
    for row, pixels in seen:
        assert np.array_equal(pixels, noise(3, 8, 8, seed=row // 3)[row % 3])


@pytest.mark.parametrize(
    "changes",
    [
        {"val_images": noise(3, 8, 8, 8)},  # MedMNIST 3-D
        {"test_labels": np.zeros((3, 14), np.uint8)},  # several labels an image
        {"train_images": np.zeros((3, 8, 8), np.float32)},
        {"train_labels": np.zeros((2, 1), np.uint8)},
        {"train_labels": np.array([[{}], [{}], [{}]], object)},  # a pickle
    ],
    ids=["3-D", "multi-label", "float", "too few labels", "pickle"],
)
def test_another_npz_is_refused_without_unpickling(tmp_path: Path, changes: dict[str, np.ndarray]) -> None:
    medmnist(tmp_path / "m.npz", **changes)
    with pytest.raises(SourceError, match="2-D MedMNIST"):
        open_source("m", NpzSource(kind="npz", path="m.npz"), tmp_path)


def test_an_npz_that_declares_a_terabyte_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = medmnist(tmp_path / "m.npz")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (1_000_000, 1024, 1024)}
    )
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    labels = io.BytesIO()
    np.save(labels, np.zeros((1_000_000, 1), np.uint8))
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in {
            **members, "train_images.npy": header.getvalue(), "train_labels.npy": labels.getvalue()
        }.items():  # fmt: skip
            archive.writestr(name, body)
    with pytest.raises(SourceError, match=r"more than 4 GiB|packed ones"):
        open_source("m", NpzSource(kind="npz", path="m.npz"), tmp_path)


@pytest.mark.parametrize("data", [b"", b"not a zip", b"PK\x03\x04cut"])
def test_a_file_that_is_no_npz_is_an_error(tmp_path: Path, data: bytes) -> None:
    write(tmp_path / "m.npz", data)
    with pytest.raises(SourceError, match="2-D MedMNIST"):
        open_source("m", NpzSource(kind="npz", path="m.npz"), tmp_path)


# --- reading --------------------------------------------------------------------------------------------------------


def test_reading_keeps_the_order_asked_for_and_goes_on_after_a_bad_file(tmp_path: Path) -> None:
    for number in range(30):
        write(tmp_path / f"{number}.png", by_opencv(noise(8, 8, seed=number)))
    write(tmp_path / "7.png", b"")
    opened = table(tmp_path, "image\n" + "".join(f"{number}.png\n" for number in range(30)))
    order = [int(row) for row in np.random.default_rng(1).permutation(30)]
    seen = list(opened.read(order))
    assert [row for row, _ in seen] == order
    for row, pixels in seen:
        assert isinstance(pixels, Unreadable) if row == 7 else np.array_equal(pixels, noise(8, 8, seed=row))


def test_reading_never_runs_far_ahead_of_the_reader() -> None:
    begun: list[str] = []
    items = [str(number) for number in range(1000)]
    reading = prefetch(lambda item: begun.append(item) or item, items, threads=2, most=4)
    assert [next(reading) for _ in range(10)] == items[:10]
    assert len(begun) <= 10 + 2 * 2


def test_a_row_that_is_not_there_is_a_key_error(tmp_path: Path) -> None:
    medmnist(tmp_path / "m.npz")
    sources = [
        table(tmp_path, "image\na.png\n"),
        open_source("m", NpzSource(kind="npz", path="m.npz"), tmp_path),
        open_source("p", PhantomSource(kind="phantoms", phantom="chest", images=2, size_px=32), None),
    ]
    for opened in sources:
        with pytest.raises(KeyError):
            list(opened.read([99]))


# --- phantoms -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("phantom", "dtype", "channels"), [("chest", np.uint16, 1), ("histology", np.uint8, 3)])
def test_phantoms_are_a_source_like_any_other(phantom: str, dtype: type, channels: int) -> None:
    source = PhantomSource.model_validate({"kind": "phantoms", "phantom": phantom, "images": 40, "size_px": 32})
    opened = open_source("p", source, None)
    assert opened.rows.columns[:5] == ["row", "path", "original_patient", "image_type", "patient_id"]
    assert opened.rows["path"].null_count() == 40
    assert 1 < opened.rows["original_patient"].n_unique() < 40
    (row, pixels), (_, again) = next(opened.read([35])), list(opened.read([2, 35]))[1]
    assert row == 35
    assert isinstance(pixels, np.ndarray)
    assert pixels.dtype == dtype
    assert pixels.shape == ((32, 32) if channels == 1 else (32, 32, 3))
    assert np.array_equal(pixels, again)


@pytest.mark.parametrize("shape", [(10**13, 0, 0), (10**8, 1, 1), (2**40, 2**40, 1)])
def test_an_npz_of_absurd_shape_is_refused_without_memory(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = medmnist(tmp_path / "m.npz")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for name, declared in (("train_images.npy", shape), ("train_labels.npy", (shape[0], 1))):
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": declared})
        members[name] = header.getvalue()
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    with pytest.raises(SourceError, match=r"sides of 0|packed ones"):
        open_source("m", NpzSource(kind="npz", path="m.npz"), tmp_path)
