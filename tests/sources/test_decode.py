"""Untrusted bytes become exactly the stored pixels, or a reason; never an exception, never other pixels."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from image_files import by_opencv, by_pillow, noise, png, tiff, write
from PIL import Image

from advassay.sources.image_decoder import Header, decode, read_header, read_image
from advassay.sources.read_failures import MAX_PIXELS, Unreadable

GREY8, GREY16 = noise(40, 50), noise(40, 50, dtype=np.uint16)
RGB8, RGB16 = noise(40, 50, 3), noise(40, 50, 3, dtype=np.uint16)


def reason(data: bytes) -> str:
    seen = decode(data)
    assert isinstance(seen, Unreadable)
    return seen.reason


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("pixels", [GREY8, GREY16, RGB8, RGB16], ids=["grey8", "grey16", "rgb8", "rgb16"])
def test_lossless_files_give_back_every_bit(pixels: np.ndarray, ending: str) -> None:
    seen = decode(by_opencv(pixels, ending))
    assert isinstance(seen, np.ndarray)
    assert seen.dtype == pixels.dtype
    assert np.array_equal(seen, pixels)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("pixels", [GREY8, GREY16], ids=["8", "16"])
def test_white_is_zero_is_turned_around_at_both_depths(pixels: np.ndarray, order: str) -> None:
    inverted = np.iinfo(pixels.dtype).max - pixels
    assert np.array_equal(decode(tiff(inverted, photometric=0, order=order)), pixels)
    assert np.array_equal(decode(tiff(pixels, photometric=1, order=order)), pixels)


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_grey_saved_as_colour_is_grey_again(ending: str) -> None:
    assert np.array_equal(decode(by_opencv(np.dstack([GREY16] * 3), ending)), GREY16)


def test_a_grey_jpeg_saved_as_rgb_is_grey_again_but_a_tint_of_one_level_is_not() -> None:
    smooth = np.tile(np.arange(0, 200, 4, dtype=np.uint8), (40, 1))
    grey = decode(by_pillow(Image.fromarray(np.dstack([smooth] * 3)), "JPEG"))
    assert isinstance(grey, np.ndarray)
    assert grey.ndim == 2
    tinted = np.dstack([smooth, smooth, smooth])
    tinted[0, 0, 2] += 1
    assert decode(by_opencv(tinted)).shape == (40, 50, 3)


def test_one_bit_and_two_bit_grey_fill_the_range() -> None:
    assert np.array_equal(decode(by_pillow(Image.fromarray(GREY8 > 127), "PNG")), np.where(GREY8 > 127, 255, 0))
    assert decode(png(4, 1, 2, 0, b"\0\x1b")).tolist() == [[0, 85, 170, 255]]
    assert np.array_equal(
        decode(by_pillow(Image.fromarray(GREY8 > 127), "TIFF", compression="group4")), np.where(GREY8 > 127, 255, 0)
    )


def test_a_palette_becomes_its_colours() -> None:
    indexed = Image.fromarray(RGB8).quantize(16)
    assert np.array_equal(decode(by_pillow(indexed, "PNG")), np.asarray(indexed.convert("RGB")))
    assert np.array_equal(decode(by_pillow(indexed, "TIFF")), np.asarray(indexed.convert("RGB")))


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("pixels", [RGB8, RGB16], ids=["8", "16"])
def test_alpha_is_dropped_only_where_it_is_fully_opaque(pixels: np.ndarray, ending: str) -> None:
    top = np.iinfo(pixels.dtype).max
    alpha = np.full((*pixels.shape[:2], 1), top, pixels.dtype)
    assert np.array_equal(decode(by_opencv(np.dstack([pixels, alpha]), ending)), pixels)
    alpha[3, 4] = top - 1
    assert reason(by_opencv(np.dstack([pixels, alpha]), ending)) == "transparent"


def test_grey_with_opaque_alpha_keeps_one_channel() -> None:
    assert np.array_equal(decode(by_pillow(Image.fromarray(GREY8).convert("LA"), "PNG")), GREY8)


def test_exif_orientation_is_not_applied() -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    assert decode(by_pillow(Image.fromarray(GREY8), "JPEG", exif=turned)).shape == (40, 50)


UNSUPPORTED = {
    "float TIFF": tiff(GREY8.astype(np.float32), sample_format=3),
    "signed TIFF": tiff(GREY16.view(np.int16), sample_format=2),
    "signed 8-bit TIFF": tiff(GREY8.view(np.int8), sample_format=2),
    "32-bit TIFF": tiff(GREY8.astype(np.uint32)),
    "CMYK TIFF": by_pillow(Image.fromarray(RGB8).convert("CMYK"), "TIFF"),
    "CMYK JPEG": by_pillow(Image.fromarray(RGB8).convert("CMYK"), "JPEG"),
    "grey TIFF with alpha": by_pillow(Image.fromarray(GREY8).convert("LA"), "TIFF"),
    "two pages": by_pillow(Image.fromarray(GREY8), "TIFF", save_all=True, append_images=[Image.fromarray(GREY8)]),
    "a page that follows itself": tiff(GREY8, following=-1),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_pixels_we_would_have_to_invent_or_convert_are_refused(name: str) -> None:
    assert reason(UNSUPPORTED[name]) == "unsupported pixels"


def test_a_declared_bomb_is_refused_by_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    def decoder_must_not_run(*_: object) -> None:
        raise AssertionError("the decoder saw the bomb")

    monkeypatch.setattr("cv2.imdecode", decoder_must_not_run)
    assert reason(png(60_000, 60_000, 8, 0, b"\0")) == "too large"
    assert reason(png(MAX_PIXELS + 1, 1, 8, 0, b"\0")) == "too large"


GOOD = {
    "PNG": by_opencv(GREY8),
    "JPEG": by_pillow(Image.fromarray(GREY8), "JPEG"),
    "TIFF": tiff(GREY8),
    "LZW TIFF": by_pillow(Image.fromarray(RGB8), "TIFF", compression="tiff_lzw"),
}


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_file_cut_short_is_damaged_not_half_an_image(kind: str, share: float) -> None:
    data = GOOD[kind]
    assert reason(data[: int(len(data) * share)]) == "damaged"


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_missing_end_is_noticed_even_by_the_header(kind: str) -> None:
    # Some versions of the decoders fill the rest of a cut image with grey and say nothing.
    assert isinstance(read_header(GOOD[kind]), Header)
    assert isinstance(read_header(GOOD[kind][:-8]), Unreadable)


def test_a_flipped_byte_in_a_png_is_noticed() -> None:
    data = bytearray(GOOD["PNG"])
    data[len(data) // 2] ^= 0xFF
    assert reason(bytes(data)) == "damaged"


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_bytes_raise(data: st.DataObject) -> None:
    good = bytearray(GOOD[data.draw(st.sampled_from(sorted(GOOD)))])
    for _ in range(data.draw(st.integers(1, 8))):
        good[data.draw(st.integers(0, min(len(good) - 1, 300)))] = data.draw(st.integers(0, 255))
    with mock.patch("advassay.sources.image_decoder.MAX_PIXELS", 10_000):  # spares the test allocations of a gigabyte
        seen = decode(bytes(good))
    assert isinstance(seen, Unreadable) or seen.dtype in (np.uint8, np.uint16)


@example(b"\x89PNG\r\n\x1a\n")
@example(b"\xff\xd8\xff")
@example(b"II*\0\xff\xff\xff\xff")
@example(b"\xff\xd8" + b"\xff" * 100_000)
@given(st.binary(max_size=64))
def test_no_text_is_an_image(data: bytes) -> None:
    assert reason(data) in ("not an image", "damaged")


def test_every_bad_file_has_its_reason(tmp_path: Path) -> None:
    write(tmp_path / "empty.png", b"")
    write(tmp_path / "text.png", b"Dear colleague")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    seen = {
        name: read_image(tmp_path / name, tmp_path.resolve())
        for name in ("empty.png", "text.png", "folder.png", "pipe.png", "none.png", "loop.png", "a\0b", "x" * 300)
    }
    assert {name: getattr(unreadable, "reason", None) for name, unreadable in seen.items()} == {
        "empty.png": "empty file",
        "text.png": "not an image",
        "folder.png": "not a file",
        "pipe.png": "not a file",
        "none.png": "missing",
        "loop.png": "missing",
        "a\0b": "missing",
        "x" * 300: "missing",
    }


def test_a_file_that_may_not_be_read_is_a_row_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:  # what the system does for a user who is not root
        raise PermissionError(13, "Permission denied")

    path = write(tmp_path / "p1.png", GOOD["PNG"])
    monkeypatch.setattr(Path, "open", refuse)
    assert read_image(path, tmp_path.resolve()) == Unreadable("no permission", "the file may not be read")


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "outside.png", GOOD["PNG"])
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    write(folder / "inside.png", GOOD["PNG"])
    (folder / "good.png").symlink_to(folder / "inside.png")
    outside = read_image(folder / "link.png", folder.resolve())
    assert isinstance(outside, Unreadable)
    assert outside.reason == "outside the folder"
    assert np.array_equal(read_image(folder / "good.png", folder.resolve()), GREY8)
