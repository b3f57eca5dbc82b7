"""Every transfer syntax gives the stored pixels back; what cannot be used is refused with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import file_bytes, picture, radiograph
from pydicom.dataset import Dataset

from advassay.sources.dicom.pixel_reader import PixelRules
from advassay.sources.dicom.worker_pool import DicomWorkerPool
from advassay.sources.read_failures import Unreadable

LOSSLESS = (
    *("explicit", "implicit", "big endian", "deflated", "no preamble"),
    *("rle", "jpeg2000", "jpeg-ls", "jpeg-lossless"),
)


@pytest.fixture
def read(tmp_path: Path, crew: DicomWorkerPool) -> Any:
    def read(ds: Dataset | bytes, syntax: str = "explicit", **rules: Any) -> np.ndarray | Unreadable:
        path = tmp_path / "image"
        path.write_bytes(ds if isinstance(ds, bytes) else file_bytes(ds, syntax))
        return crew.image(str(path), PixelRules(**rules))

    return read


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_every_lossless_syntax_gives_back_every_bit(read: Any, syntax: str) -> None:
    stored = picture(bits=16)
    assert np.array_equal(read(radiograph(stored, bits=16), syntax), stored)


@pytest.mark.parametrize("syntax", ["explicit", "big endian", "rle"])
@pytest.mark.parametrize("bits", [10, 16])
def test_signed_values_keep_their_order(read: Any, syntax: str, bits: int) -> None:
    stored = (picture(bits=bits).astype(np.int32) - 2 ** (bits - 1)).astype(np.int16)
    seen = read(radiograph(stored, bits=bits), syntax)
    assert np.array_equal(seen, np.rint((stored + 2.0 ** (bits - 1)) / (2**bits - 1) * 65535))


def test_eight_bits_stay_eight_bits_and_jpeg_comes_close(read: Any) -> None:
    stored = picture(bits=8).astype(np.uint8)
    assert np.array_equal(read(radiograph(stored, bits=8)), stored)
    lossy = read(radiograph(stored, bits=8), "jpeg")
    assert lossy.dtype == np.uint8
    assert np.abs(lossy.astype(int) - stored).mean() < 2


@pytest.mark.parametrize(("rows", "columns"), [(520, 576), (2800, 2531)])
def test_the_reference_studys_sizes_are_read(read: Any, rows: int, columns: int) -> None:
    stored = picture(rows, columns)
    assert read(radiograph(stored)).shape == (rows, columns)


def test_an_old_overlay_beside_the_stored_bits_does_not_show(read: Any) -> None:
    stored = picture(bits=12)
    with_overlay = stored | np.where(stored % 7 == 0, 1 << 15, 0).astype(np.uint16)
    ds = radiograph(with_overlay, bits=12)
    assert np.array_equal(read(ds), read(radiograph(stored, bits=12)))  # PS3.5 §8.1.1: they mean nothing
    ds.add_new(0x60000102, "US", 15)  # (6000,0102) Overlay Bit Position
    assert np.array_equal(read(ds), read(radiograph(stored, bits=12)))


def test_a_negative_value_need_not_fill_the_bits_above_it(read: Any) -> None:
    stored = np.where(picture(bits=12) > 2047, picture(bits=12) - 4096.0, picture(bits=12)).astype(np.int16)
    bare = (stored & 0x0FFF).astype(np.int16)
    assert np.array_equal(read(radiograph(bare, bits=12)), read(radiograph(stored, bits=12)))


def test_values_may_lie_in_the_high_bits(read: Any) -> None:
    stored = picture(bits=12)
    assert np.array_equal(read(radiograph(stored << 4, bits=12, HighBit=15)), read(radiograph(stored, bits=12)))


@pytest.mark.parametrize(
    "tags", [{"PixelSpacing": [0.2, 0.1]}, {"ImagerPixelSpacing": [0.2, 0.1]}, {"PixelAspectRatio": [2, 1]}]
)
def test_pixels_that_are_not_square_are_made_square(read: Any, tags: dict[str, Any]) -> None:
    assert read(radiograph(**tags)).shape == (480, 220)


def test_a_pixel_spacing_of_zero_says_nothing(read: Any) -> None:
    assert read(radiograph(PixelSpacing=[0, 0])).shape == (240, 220)


def test_voi_is_applied_to_the_stored_bits_before_anything_is_rounded(read: Any) -> None:
    stored = picture(bits=16)  # a window 256 values wide holds 256 grey levels of 65,536, not one
    seen = read(radiograph(stored, bits=16, WindowCenter=30000, WindowWidth=256), scaling="voi", most_clipped=1)
    inside = (stored > 29900) & (stored < 30100)
    assert len(np.unique(seen[inside])) == len(np.unique(stored[inside]))


def test_technical_rules_can_be_set(read: Any) -> None:
    flat = (picture(bits=12) // 200 + 2000).astype(np.uint16)
    assert read(radiograph(flat)).reason == "almost constant"
    assert isinstance(read(radiograph(flat), least_contrast=0.001), np.ndarray)
    cut = np.where(picture(bits=12) < 3000, 0, picture(bits=12)).astype(np.uint16)
    assert read(radiograph(cut), most_clipped=0.3).reason == "clipped"
    assert isinstance(read(radiograph(cut), most_clipped=0.99), np.ndarray)


def test_an_image_larger_than_allowed_is_refused_before_it_is_decoded(read: Any) -> None:
    assert read(radiograph(), most_pixels=52_799).reason == "too large"
    assert isinstance(read(radiograph(), most_pixels=52_800), np.ndarray)


@pytest.mark.parametrize(
    "tags",
    [
        {"WindowCenter": 5, "WindowWidth": 0},
        {"WindowCenter": 5, "WindowWidth": 9, "VOILUTFunction": "CURVE"},
        {"RescaleSlope": 0, "RescaleIntercept": 0},
    ],
)
def test_a_window_or_slope_without_meaning_leaves_the_image_out(read: Any, tags: dict[str, Any]) -> None:
    assert read(radiograph(**tags), scaling="voi").reason == "damaged"
