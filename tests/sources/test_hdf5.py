"""Arrays in HDF5 files: what is not such a file is refused, a damaged image is a reason."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from advassay.errors import SourceError
from advassay.sources import Unreadable, open_source
from advassay.spec.source_spec import Hdf5Source

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 12, 10, 3), dtype=np.uint8)


def source(folder: Path, **more: str) -> Hdf5Source:
    part = {"images": "x.h5", "labels": "y.h5"} | more
    return Hdf5Source.model_validate({"kind": "hdf5", "path": str(folder), "parts": {"training": part}})


def write(folder: Path, images: np.ndarray = IMAGES, labels: np.ndarray | None = None, **how: object) -> None:
    with h5py.File(folder / "x.h5", "w") as file:
        file.create_dataset("x", data=images, **how)
    with h5py.File(folder / "y.h5", "w") as file:
        file["y"] = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1) % 2 if labels is None else labels


def test_images_labels_and_the_table_stay_in_order(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "meta.csv").write_text("wsi,centre\n" + "\n".join(f"slide_{i // 3},{i}" for i in range(6)))
    opened = open_source("h", source(tmp_path, table="meta.csv"), None)
    assert opened.rows["label"].to_list() == ["0", "1", "0", "1", "0", "1"]
    assert opened.rows["wsi"].to_list() == ["slide_0"] * 3 + ["slide_1"] * 3
    read = dict(opened.read([4, 1]))
    np.testing.assert_array_equal(read[4], IMAGES[4])
    np.testing.assert_array_equal(read[1], IMAGES[1])


@pytest.mark.parametrize(
    ("images", "labels", "seen"),
    [
        (IMAGES.astype(np.float32), None, "type float32"),
        (IMAGES[..., :2], None, r"\(6, 12, 10, 2\)"),
        (IMAGES, np.zeros(5, np.uint8), r"labels of shape \(5,\)"),
        (IMAGES, np.zeros(6), "float64 for 6 images"),
    ],
)
def test_arrays_of_another_form_are_refused(
    tmp_path: Path, images: np.ndarray, labels: np.ndarray | None, seen: str
) -> None:
    write(tmp_path, images, labels)
    with pytest.raises(SourceError, match=seen):
        open_source("h", source(tmp_path), None)


def test_links_to_other_files_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "x.h5").rename(tmp_path / "elsewhere.h5")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = h5py.ExternalLink(str(tmp_path / "elsewhere.h5"), "x")
    with pytest.raises(SourceError, match=r"with an array 'x', got x\.h5"):
        open_source("h", source(tmp_path), None)


def test_a_damaged_image_is_a_reason_and_its_neighbours_are_read(tmp_path: Path) -> None:
    write(tmp_path, chunks=(1, 12, 10, 3), compression="gzip", fletcher32=True)
    with h5py.File(tmp_path / "x.h5") as file:
        where = file["x"].id.get_chunk_info(2)
    with (tmp_path / "x.h5").open("r+b") as file:
        file.seek(where.byte_offset)
        file.write(b"\0" * where.size)
    read = dict(open_source("h", source(tmp_path), None).read([1, 2, 3]))
    assert isinstance(read[2], Unreadable)
    assert read[2].reason == "damaged"
    np.testing.assert_array_equal(read[3], IMAGES[3])


def test_a_text_file_is_no_hdf5(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "x.h5").write_text("hello")
    with pytest.raises(SourceError, match="an HDF5 file with an array"):
        open_source("h", source(tmp_path), None)


def test_a_table_of_another_length_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "meta.csv").write_text("wsi\na\nb\n")
    with pytest.raises(SourceError, match="a row for each of 6 images, got 2"):
        open_source("h", source(tmp_path, table="meta.csv"), None)
