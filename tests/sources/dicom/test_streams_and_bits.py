"""Header against stream, bits against values, pixels that are no image: never a wrong grey value without a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import file_bytes, picture, radiograph
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID

from advassay.sources.dicom.pixel_data import BITS_MASKED, BYTES_LEFT, STREAM_BITS, VALUES_LOW, read_codestream
from advassay.sources.dicom.pixel_reader import SHUTTER_IGNORED, DecodedImage, PixelRules
from advassay.sources.dicom.worker_pool import DicomWorkerPool
from advassay.sources.read_failures import Unreadable

COMPRESSED = ("rle", "jpeg2000", "jpeg-ls", "jpeg-lossless")
WITH_HEADER = COMPRESSED[1:]


@pytest.fixture
def read(tmp_path: Path, crew: DicomWorkerPool) -> Any:
    def read(data: Dataset | bytes, syntax: str = "explicit", **rules: Any) -> DecodedImage | Unreadable:
        path = tmp_path / "image"
        path.write_bytes(data if isinstance(data, bytes) else file_bytes(data, syntax))
        return crew.decoded(str(path), PixelRules(**rules))

    return read


def relabelled(data: bytes, path: Path, **tags: Any) -> bytes:
    """A file whose header says something else than when its pixels were written."""
    path.write_bytes(data)
    ds = dcmread(path)
    for keyword, value in tags.items():
        setattr(ds, keyword, value)
    ds.save_as(path, enforce_file_format=True)
    return path.read_bytes()


def signed(bits: int) -> np.ndarray:
    return (picture(bits=bits).astype(np.int32) - 2 ** (bits - 1)).astype(np.int16)


@pytest.mark.parametrize("syntax", ["explicit", "rle", "jpeg-ls", "jpeg-lossless", "deflated"])
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_signed_values_survive_every_syntax(read: Any, syntax: str, bits: int) -> None:
    seen = read(radiograph(signed(bits), bits=bits), syntax)
    assert isinstance(seen, DecodedImage), seen
    assert np.array_equal(seen.pixels, np.rint((signed(bits) + 2.0 ** (bits - 1)) / (2**bits - 1) * 65535))


@pytest.mark.parametrize("syntax", COMPRESSED)
@pytest.mark.parametrize(("bits", "said"), [(13, 12), (16, 12), (14, 10)])
def test_values_that_need_more_bits_than_the_header_says_are_refused(
    read: Any, tmp_path: Path, syntax: str, bits: int, said: int
) -> None:
    data = relabelled(
        file_bytes(radiograph(picture(bits=bits), bits=bits), syntax), tmp_path / "x", BitsStored=said, HighBit=said - 1
    )
    assert read(data).named == "unreadable: damaged"


@pytest.mark.parametrize("syntax", WITH_HEADER)
def test_a_stream_of_another_depth_whose_values_fit_is_kept_whole_and_said(
    read: Any, tmp_path: Path, syntax: str
) -> None:
    stored = picture(bits=12)
    wide = file_bytes(radiograph(stored, bits=16), syntax)
    seen = read(relabelled(wide, tmp_path / "x", BitsStored=12, HighBit=11))
    assert np.array_equal(seen.pixels, np.rint(stored / 4095 * 65535))
    assert seen.notes == (STREAM_BITS,)


@pytest.mark.parametrize("syntax", WITH_HEADER)
def test_a_stream_of_another_size_is_no_picture_of_this_header(read: Any, tmp_path: Path, syntax: str) -> None:
    data = file_bytes(radiograph(picture(240, 220)), syntax)
    swapped = read(relabelled(data, tmp_path / "x", Rows=220, Columns=240))
    assert "the stream holds 220 × 240 pixels" in swapped.detail


def test_a_syntax_without_a_decoder_is_called_so(read: Any, tmp_path: Path) -> None:
    path = tmp_path / "xl"
    path.write_bytes(file_bytes(radiograph(), "jpeg-ls"))
    ds = dcmread(path)
    ds.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.100")
    ds.save_as(path, enforce_file_format=True)
    assert read(path.read_bytes()).detail.startswith("no decoder for MPEG2")


def test_a_colour_stream_under_a_grey_header_is_refused(read: Any, tmp_path: Path) -> None:
    import cv2
    from pydicom.encaps import encapsulate

    colour = np.repeat((picture(bits=8).astype(np.uint8))[:, :, None], 3, axis=2)
    data = file_bytes(radiograph(picture(bits=8).astype(np.uint8), bits=8), "jpeg")
    stream = cv2.imencode(".jpg", colour)[1].tobytes()
    assert read_codestream(stream).components == 3  # type: ignore[union-attr]
    seen = read(relabelled(data, tmp_path / "x", PixelData=encapsulate([stream])))
    assert seen.detail == "the stream holds 3 components, the header says 1"


def test_a_j2k_stream_whose_sign_is_not_the_headers_is_refused_where_it_matters(read: Any, tmp_path: Path) -> None:
    bright = file_bytes(radiograph(picture(bits=12)), "jpeg2000")
    seen = read(relabelled(bright, tmp_path / "x", PixelRepresentation=1))
    assert seen.detail == "the stream's values are unsigned, the header's signed"
    dark = (picture(bits=12) // 2).astype(np.uint16)  # no value has the bit that would be a sign
    seen = read(relabelled(file_bytes(radiograph(dark), "jpeg2000"), tmp_path / "x", PixelRepresentation=1))
    assert np.array_equal(seen.pixels, np.rint((dark + 2048) / 4095 * 65535))


@pytest.mark.parametrize("syntax", ["explicit", "rle", "big endian", "deflated"])
@pytest.mark.parametrize("kind", ["constant", "noise", "one bit"])
@pytest.mark.parametrize("bits", [10, 12])
def test_garbage_above_bits_stored_is_masked_and_said(read: Any, syntax: str, kind: str, bits: int) -> None:
    stored, rng = picture(bits=bits), np.random.default_rng(0)
    above = {
        "constant": np.full(stored.shape, (1 << 16 - bits) - 1),
        "noise": rng.integers(0, 1 << 16 - bits, stored.shape),
        "one bit": rng.integers(0, 2, stored.shape) << 2,
    }[kind]
    seen = read(radiograph((stored | (above << bits)).astype(np.uint16), bits=bits), syntax)
    assert np.array_equal(seen.pixels, np.rint(stored / (2**bits - 1) * 65535))
    assert seen.notes == (BITS_MASKED,)


def test_a_bright_mark_beyond_bits_stored_is_not_taken_for_garbage(read: Any) -> None:
    stored = (picture(bits=12) // 4).astype(np.uint16)
    stored[20:40, 20:60] = 5000
    assert read(radiograph(stored, bits=12)).detail == "values beyond the 12 bits stored"


@pytest.mark.parametrize("syntax", ["explicit", "rle", "jpeg-ls"])
def test_values_in_the_high_bits_are_read_as_high_bit_says(read: Any, syntax: str) -> None:
    stored = picture(bits=12)
    seen = read(radiograph(stored << 4, bits=12, HighBit=15), syntax) if syntax != "jpeg-ls" else None
    seen = seen or read(radiograph(stored << 4, bits=12, HighBit=15))
    assert np.array_equal(seen.pixels, np.rint(stored / 4095 * 65535))


@pytest.mark.parametrize("sign", [False, True])
def test_values_in_the_low_bits_are_believed_against_high_bit(read: Any, sign: bool) -> None:
    stored = signed(12) if sign else picture(bits=12)
    seen = read(radiograph(stored, bits=12, HighBit=15))
    assert np.array_equal(seen.pixels, np.rint((stored.astype(float) - (-2048 if sign else 0)) / 4095 * 65535))
    assert seen.notes == (VALUES_LOW,)


def test_pixel_data_of_twice_the_length_is_another_image(read: Any, tmp_path: Path) -> None:
    data = file_bytes(radiograph(picture(bits=12)))
    halved = relabelled(data, tmp_path / "x", Rows=120)
    assert read(halved).notes == (BYTES_LEFT,) or read(halved).named == "unreadable: damaged"
    eight = relabelled(data, tmp_path / "x", BitsAllocated=8, BitsStored=8, HighBit=7, Rows=120)
    assert read(eight).named == "unreadable: damaged"


PADDINGS: dict[str, tuple[int, dict[str, Any]]] = {
    "zero": (0, {"PixelPaddingValue": 0}),
    "beyond the stored bits": (65535, {"PixelPaddingValue": 65535}),
    "written with the other sign": (65535, {"PixelPaddingValue": -1}),
}


@pytest.mark.parametrize("name", PADDINGS)
@pytest.mark.parametrize("syntax", ["explicit", "rle"])
def test_padding_is_masked_however_it_is_written(read: Any, name: str, syntax: str) -> None:
    value, tags = PADDINGS[name]
    stored = (picture(bits=12) // 2 + 1000).astype(np.uint16)
    stored[:, :100] = value
    ds = radiograph(stored, bits=12)
    for keyword, number in tags.items():
        ds.add_new(keyword_tag(keyword), "SS" if number < 0 else "US", number)
    seen = read(ds, syntax)
    assert np.array_equal(np.ma.getmaskarray(seen.pixels)[:, :100], np.ones((240, 100), bool))
    assert np.ma.count_masked(seen.pixels) == 240 * 100
    assert (np.ma.getdata(seen.pixels)[:, :100] == 0).all()


def keyword_tag(keyword: str) -> int:
    from pydicom.datadict import tag_for_keyword

    return int(tag_for_keyword(keyword) or 0)


@pytest.mark.parametrize("vr", ["SS", "US"])
def test_padding_of_signed_values_is_found_whatever_its_vr(read: Any, vr: str) -> None:
    stored = (signed(16) // 2).astype(np.int16)
    stored[:, :50] = -20000
    ds = radiograph(stored, bits=16)
    ds.add_new(0x00280120, vr, -20000 if vr == "SS" else 65536 - 20000)
    assert np.ma.getmaskarray(read(ds).pixels)[:, :50].all()


@pytest.mark.parametrize(("value", "limit"), [(0, 40), (40, 0)])
def test_a_padding_range_includes_both_its_ends(read: Any, value: int, limit: int) -> None:
    stored = (picture(bits=12) // 2 + 1000).astype(np.uint16)
    stored[:, :41] = np.arange(41)
    ds = radiograph(stored, bits=12)
    ds.PixelPaddingValue, ds.PixelPaddingRangeLimit = value, limit
    assert np.ma.count_masked(read(ds).pixels) == 240 * 41


def test_a_picture_of_padding_alone_is_left_out(read: Any) -> None:
    ds = radiograph(picture(bits=12))
    ds.PixelPaddingValue, ds.PixelPaddingRangeLimit = 0, 4095
    assert read(ds).named == "unusable: almost constant"


def test_technical_rules_look_at_image_pixels_only(read: Any) -> None:
    stored = np.full((240, 220), 2000, np.uint16) + (picture(bits=12) // 2000).astype(np.uint16)
    stored[:, :100] = 0  # padding makes contrast where the image has none
    ds = radiograph(stored, bits=12)
    assert isinstance(read(ds), DecodedImage)
    ds.PixelPaddingValue = 0
    assert read(ds).named == "unusable: almost constant"


SHUTTERS: dict[str, dict[str, Any]] = {
    "RECTANGULAR": {
        "ShutterLeftVerticalEdge": 51,
        "ShutterRightVerticalEdge": 150,
        "ShutterUpperHorizontalEdge": 21,
        "ShutterLowerHorizontalEdge": 200,
    },
    "CIRCULAR": {"CenterOfCircularShutter": [121, 111], "RadiusOfCircularShutter": 90},
    "POLYGONAL": {"VerticesOfThePolygonalShutter": [21, 51, 21, 150, 200, 150, 200, 51]},
}


@pytest.mark.parametrize("shape", SHUTTERS)
def test_what_a_shutter_hides_is_no_image(read: Any, shape: str) -> None:
    ds = radiograph(picture(bits=12), ShutterShape=shape, **SHUTTERS[shape])
    hidden = np.ma.getmaskarray(read(ds).pixels)
    inside = {"CIRCULAR": np.pi * 90**2}.get(shape, 100 * 180)
    assert (~hidden).sum() == pytest.approx(inside, rel=0.01)
    assert not hidden[120, 110]
    assert hidden[0, 0]


def test_two_shutters_leave_what_both_leave(read: Any) -> None:
    tags = SHUTTERS["RECTANGULAR"] | SHUTTERS["CIRCULAR"]
    both = read(radiograph(picture(bits=12), ShutterShape=["RECTANGULAR", "CIRCULAR"], **tags)).pixels
    one = read(radiograph(picture(bits=12), ShutterShape="CIRCULAR", **tags)).pixels
    assert np.ma.count_masked(both) > np.ma.count_masked(one)


@pytest.mark.parametrize("edges", [{}, {"ShutterLeftVerticalEdge": 0, "ShutterRightVerticalEdge": 0}])
def test_a_shutter_without_meaning_is_ignored_and_said(read: Any, edges: dict[str, Any]) -> None:
    rest = {"ShutterUpperHorizontalEdge": 0, "ShutterLowerHorizontalEdge": 0} if edges else {}
    seen = read(radiograph(picture(bits=12), ShutterShape="RECTANGULAR", **edges, **rest))
    assert type(seen.pixels) is np.ndarray
    assert seen.notes == (SHUTTER_IGNORED,)


@pytest.mark.parametrize("width", [1, 2, 3, 8])
def test_a_window_that_leaves_two_levels_is_refused(read: Any, width: int) -> None:
    stored = (picture(bits=12) // 2 + 1000).astype(np.uint16)
    ds = radiograph(stored, WindowCenter=2000, WindowWidth=width)
    assert read(ds, scaling="voi").reason in ("two-level", "clipped")
    assert isinstance(read(ds), DecodedImage)


def test_an_image_outside_its_window_is_blank_for_the_index(read: Any) -> None:
    from advassay.sources.image_index import inspect_image

    ds = radiograph((picture(bits=12) // 4).astype(np.uint16), WindowCenter=4000, WindowWidth=50)
    seen = read(ds, scaling="voi")
    assert isinstance(seen, DecodedImage)
    assert inspect_image(seen.pixels)[0] == "blank"


@pytest.mark.parametrize(
    ("stated", "back"),
    [
        (["R", "F"], lambda a: a[:, ::-1]),
        (["L", "H"], lambda a: a[::-1]),
        (["R", "H"], lambda a: a[::-1, ::-1]),
        (["F", "L"], lambda a: a.T),
        (["L", "F"], lambda a: a),
        (["A", "F"], lambda a: a),
    ],
)
def test_an_image_is_turned_as_its_orientation_says(read: Any, stated: list[str], back: Any) -> None:
    stored = picture(bits=16)
    seen = read(radiograph(stored, bits=16, PatientOrientation=stated), turn=True)
    assert np.array_equal(seen.pixels, back(stored))
    assert np.array_equal(read(radiograph(stored, bits=16, PatientOrientation=stated)).pixels, stored)


@pytest.mark.parametrize("syntax", COMPRESSED)
@pytest.mark.parametrize(
    ("made", "said"), [((np.uint16, 12), {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}), ((np.uint8, 8), {})]
)
def test_a_stream_of_another_word_length_is_never_a_wrong_picture(
    read: Any, tmp_path: Path, syntax: str, made: tuple[type, int], said: dict[str, int]
) -> None:
    kind, bits = made
    stored = picture(bits=bits).astype(kind)
    wide = {"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15} | said
    seen = read(relabelled(file_bytes(radiograph(stored, bits=bits), syntax), tmp_path / "x", **wide))
    if isinstance(seen, Unreadable):
        return
    assert np.array_equal(seen.pixels, stored)  # 8 bits in a header of 16: every value as it is, and said
    assert seen.notes == (STREAM_BITS,)
