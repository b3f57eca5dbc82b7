"""PNG files: what is written is read back to the bit, by us and by another library; what is damaged is refused."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from advassay.png_files import decode_png, encode_png

FILTERS = (
    cv2.IMWRITE_PNG_FILTER_NONE, cv2.IMWRITE_PNG_FILTER_SUB, cv2.IMWRITE_PNG_FILTER_UP, cv2.IMWRITE_PNG_FILTER_AVG,
    cv2.IMWRITE_PNG_FILTER_PAETH, cv2.IMWRITE_PNG_ALL_FILTERS,
)  # fmt: skip


def image(dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(3).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1, 1), (9, 14), (14, 9, 3)])
def test_another_library_reads_the_pixels_that_were_written(dtype: Any, shape: tuple[int, ...]) -> None:
    pixels = image(dtype, shape)
    read = cv2.imdecode(np.frombuffer(encode_png(pixels), np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(read if read.ndim == 2 else read[:, :, ::-1], pixels)
    assert read.dtype == dtype


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(9, 14), (14, 9, 3)])
@pytest.mark.parametrize("filters", FILTERS)
def test_every_filter_of_another_library_is_undone(dtype: Any, shape: tuple[int, ...], filters: int) -> None:
    pixels = image(dtype, shape)
    written = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_FILTER, filters])[1].tobytes()
    read = decode_png(written)
    assert np.array_equal(read if read.ndim == 2 else read[:, :, ::-1], pixels)
    assert read.dtype == dtype


def test_a_flipped_bit_and_a_missing_end_are_refused() -> None:
    whole = encode_png(image(np.uint8, (9, 14)))
    for at in range(len(whole)):
        flipped = bytearray(whole)
        flipped[at] ^= 4
        with pytest.raises(ValueError, match="PNG"):
            decode_png(bytes(flipped))
        with pytest.raises(ValueError, match="PNG"):
            decode_png(whole[:at])


def test_palettes_and_transparency_are_refused() -> None:
    transparent = cv2.imencode(".png", image(np.uint8, (4, 4, 4)))[1].tobytes()
    with pytest.raises(ValueError, match="expected grey or RGB"):
        decode_png(transparent)


@pytest.mark.parametrize("pixels", [np.zeros((4, 4)), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4), np.uint8)])
def test_what_png_cannot_hold_is_not_written(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected uint8 or uint16"):
        encode_png(pixels)
