"""DICOM images are decoded once and prepared where they are decoded, with the same result as in two steps."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

sys.path.insert(0, str(Path(__file__).parents[1] / "sources" / "dicom"))
from dicom_files import file_bytes, picture, radiograph, write

from advassay.cohorts import open_cohort, prepare
from advassay.cohorts.cohort_preparation import _write as write_document
from advassay.cohorts.image_preparation import PERCENTILES, PixelRule, encode, percentiles, prepare_pixels
from advassay.cohorts.preparation_json import document_in
from advassay.cohorts.regions.region_finders import Box
from advassay.cohorts.render_images import Spool
from advassay.sources.dicom.dicom_source import open_dicom
from advassay.sources.dicom.header_filters import DICOM_READING
from advassay.sources.dicom.worker_pool import DicomWorkerPool
from advassay.spec.cohort_spec import CohortSpec
from advassay.spec.source_spec import DicomSource


@settings(deadline=None, max_examples=60)
@given(arrays(st.sampled_from([np.uint8, np.uint16]), st.tuples(st.integers(1, 30), st.integers(1, 30))))
def test_percentiles_are_numpys(pixels: np.ndarray) -> None:
    assert percentiles(pixels) == pytest.approx(tuple(np.percentile(pixels, PERCENTILES)), abs=1e-9)


def test_percentiles_of_a_masked_image_are_those_of_what_is_seen() -> None:
    pixels = picture(bits=16)
    mask = pixels > 40000
    assert percentiles(np.ma.MaskedArray(pixels, mask)) == tuple(np.percentile(pixels[~mask], PERCENTILES))


def archive(folder: Path, padded: bool = False) -> Path:
    for number in range(12):
        stored = (picture(seed=number) // 2 + 500).astype(np.uint16)
        if padded:
            stored[:, :60] = 0
        tags = {"PatientSex": "FM"[number % 2], "PatientID": f"P{number}"} | (
            {"PixelPaddingValue": 0} if padded else {}
        )
        write(folder, **{f"i{number}": file_bytes(radiograph(stored, **tags))})
    return folder


def prepared(folder: Path, **changes: Any) -> Any:
    classes = {"f": {"sex": "F"}, "m": {"sex": "M"}}
    spec = CohortSpec(source="d", classes=classes, scaling="percentile", **changes)
    prepare(
        *("c", spec, DicomSource(kind="dicom", path="dicom")),
        **{"size_px": 32, "seed": 0, "folder": folder / "store" / "c", "data": folder},
        **{"key": b"0123456789abcdef", "private": folder / "s.sources.parquet"},
    )
    return open_cohort(folder / "store" / "c")


def stored_pngs(folder: Path) -> dict[str, bytes]:
    shards = pl.concat(pl.read_parquet(path) for path in (folder / "store" / "c").glob("images-*.parquet"))
    return {name: image["bytes"] for name, image in shards.select("image_id", "image").iter_rows()}


@pytest.mark.parametrize("padded", [False, True])
def test_each_file_is_decoded_once_and_prepared_as_in_two_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, padded: bool
) -> None:
    archive(tmp_path / "dicom", padded)
    asked: list[str] = []
    ask = DicomWorkerPool.made
    monkeypatch.setattr(DicomWorkerPool, "made", lambda self, path, *rest: asked.append(path) or ask(self, path, *rest))
    prepared(tmp_path)
    assert sorted(asked) == sorted(str(path) for path in (tmp_path / "dicom").iterdir())
    opened = open_dicom("d", DicomSource(kind="dicom", path="x"), tmp_path / "dicom", scaling="percentile", workers=1)
    rule = PixelRule(32, 1, 16, "percentile", "squash")
    expected = {encode(prepare_pixels(pixels, rule)) for _, pixels in opened.read(opened.rows["row"].to_list())}
    assert set(stored_pngs(tmp_path).values()) == expected


def test_copies_and_regions_of_padded_images_keep_padding_out_of_scaling(tmp_path: Path) -> None:
    archive(tmp_path / "dicom", padded=True)
    prepared(tmp_path, region={"box": (0.0, 0.0, 0.9, 1.0)}, augmentation={"class": "f", "to": 10, "shift": 0})
    from advassay.cohorts.image_preparation import decode

    for png in stored_pngs(tmp_path).values():
        image = decode(png)[0]
        seen = image[image > 0.01]  # not the padding
        assert (
            seen.std() > 0.15
        )  # stretched over the tissue: with the padding it would be squeezed into the upper third


def test_a_cut_of_a_masked_image_is_masked() -> None:
    pixels = np.ma.MaskedArray(picture(bits=16), picture(bits=16) > 40000)
    cut = Box(10, 20, 60, 90).cut(pixels)
    assert np.array_equal(np.ma.getmaskarray(cut), np.ma.getmaskarray(pixels)[20:90, 10:60])


def test_a_spool_gives_back_what_was_put_and_leaves_no_file(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "new")
    for row in (3, 1, 2):
        spool.put(row, bytes([row]) * (100 + row))
    assert [spool.get(row) for row in (1, 2, 3)] == [bytes([row]) * (100 + row) for row in (1, 2, 3)]
    assert 4 not in spool
    assert list((tmp_path / "new").iterdir()) == []
    spool.close()


def test_a_cohort_that_earlier_rules_read_is_kept_and_said(tmp_path: Path) -> None:
    archive(tmp_path / "dicom")
    prepared(tmp_path)
    folder = tmp_path / "store" / "c"
    document = document_in(folder)
    assert document is not None
    assert document.dicom_reading == DICOM_READING
    write_document(document.model_copy(update={"dicom_reading": None}), folder)  # as earlier versions wrote it
    with pytest.warns(UserWarning, match="prepared by an earlier version"):
        prepared(tmp_path)
    assert '"dicom_reading"' not in (folder / "preparation.json").read_text()
