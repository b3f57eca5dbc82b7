"""Stored values become grey levels as PS3.3 §C.11 says, checked against its closed forms and against pydicom."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from dicom_files import radiograph
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence

from advassay.sources.dicom.grayscale_pipeline import grey_table, lookup, stored_range, window


def lut(data: list[int], first: int = 0, bits: int = 12) -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "US" if first >= 0 else "SS", [len(data), first, bits])
    item.add_new("LUTData", "US", data)
    return Sequence([item])


def image(bits: int = 12, signed: bool = False, **tags: Any) -> Dataset:
    ds = radiograph(np.zeros((2, 2), np.int16 if signed else np.uint16), bits=bits)
    ds.set_original_encoding(False, True)
    for keyword, value in tags.items():
        setattr(ds, keyword, value)
    return ds


def ours(ds: Dataset, scaling: str = "voi") -> np.ndarray:
    table = grey_table(ds, stored_range(ds.BitsStored, ds.PixelRepresentation == 1), scaling)
    return table / np.iinfo(table.dtype).max


def by_pydicom(ds: Dataset) -> np.ndarray:
    """The same by pydicom, whose result fills the range of the stored values after the Modality LUT."""
    low, high = stored_range(ds.BitsStored, ds.PixelRepresentation == 1)
    values = np.arange(low, high + 1).astype(np.int32)
    with np.errstate(over="ignore"):  # pydicom's sigmoid overflows to the right value
        out = apply_voi_lut(apply_modality_lut(values, ds), ds).astype(np.float64)
    ends = np.array([low, high]) * float(ds.get("RescaleSlope", 1)) + float(ds.get("RescaleIntercept", 0))
    return (out - ends.min()) / (ends.max() - ends.min())


@settings(deadline=None, max_examples=60)
@given(
    center=st.floats(-500, 5000),
    width=st.floats(1.5, 6000),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    signed=st.booleans(),
    slope=st.sampled_from([1.0, 0.5, 2.0]),
)
def test_windows_are_those_of_pydicom(center: float, width: float, function: str, signed: bool, slope: float) -> None:
    ds = image(signed=signed, VOILUTFunction=function, RescaleSlope=slope, RescaleIntercept=-100)
    ds.WindowCenter, ds.WindowWidth = round(center, 4), round(width, 4)
    assert np.abs(ours(ds) - np.clip(by_pydicom(ds), 0, 1)).max() <= 0.5 / 65535 + 1e-9


def test_the_linear_window_is_the_standards_example_and_its_neighbours() -> None:
    # PS3.3 §C.11.2.1.2.1: "center 2048, width 4096" passes 12 bits unchanged; width 1 is a threshold
    values = np.arange(4096.0)
    assert np.allclose(window(values, 2048, 4096), values / 4095)
    assert window(np.array([9.0, 10.0]), 10, 1).tolist() == [0.0, 1.0]
    assert window(np.array([0.0, 5.0, 10.0]), 5, 10, "LINEAR_EXACT").tolist() == [0.0, 0.5, 1.0]
    assert window(np.array([5.0]), 5, 10, "SIGMOID").tolist() == [0.5]


@pytest.mark.parametrize(("width", "function"), [(0, "LINEAR_EXACT"), (0.5, "LINEAR"), (-3, "SIGMOID"), (9, "NONE")])
def test_a_window_against_the_standard_is_refused(width: float, function: str) -> None:
    with pytest.raises(ValueError, match="0028"):
        window(np.zeros(1), 5, width, function)


@settings(deadline=None, max_examples=30)
@given(first=st.integers(-100, 100), entries=st.integers(2, 300), bits=st.integers(10, 16), seed=st.integers(0, 9))
def test_voi_luts_are_those_of_pydicom(first: int, entries: int, bits: int, seed: int) -> None:
    data = np.random.default_rng(seed).integers(0, 2**bits, entries).tolist()
    ds = image(bits=8, signed=True, VOILUTSequence=lut(data, first, bits))
    values = np.arange(-128, 128).astype(np.int32)
    table, top = lookup(ds, ds.VOILUTSequence[0], values.astype(np.float64))
    assert top == 2**bits - 1
    assert np.array_equal(table, apply_voi_lut(values, ds))


def test_a_modality_lut_wins_over_rescale_and_feeds_the_window() -> None:
    data = (np.arange(1024) ** 2 // 300).tolist()
    ds = image(bits=10, ModalityLUTSequence=lut(data, bits=16), WindowCenter=1000, WindowWidth=2000)
    assert np.allclose(ours(ds), window(np.array(data, float), 1000, 2000), atol=1e-5)
    full = ours(ds, "full-range")
    assert (full[0], full[-1]) == (0.0, 1.0)


def test_lut_data_in_words_are_read_in_the_files_byte_order() -> None:
    data = np.array([0, 5, 900, 4095], np.uint16)
    for little in (True, False):
        ds = image(VOILUTSequence=lut([0, 0, 0, 0]))
        ds.set_original_encoding(False, little)
        item = ds.VOILUTSequence[0]
        item["LUTData"].VR = "OW"
        item["LUTData"].value = data.astype("<u2" if little else ">u2").tobytes()
        assert lookup(ds, item, np.arange(4.0))[0].tolist() == data.tolist()


def test_a_lut_of_another_length_than_it_declares_is_refused() -> None:
    ds = image(VOILUTSequence=lut([1, 2, 3]))
    ds.VOILUTSequence[0].LUTDescriptor = [9, 0, 12]
    with pytest.raises(ValueError, match="LUT Data"):
        ours(ds)


@pytest.mark.parametrize("scaling", ["voi", "full-range"])
def test_monochrome1_is_the_negative_of_monochrome2(scaling: str) -> None:
    tags = {"WindowCenter": 1500, "WindowWidth": 900}
    bright, dark = image(**tags), image(**tags, PhotometricInterpretation="MONOCHROME1")
    inverse = image(**tags, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE")
    assert np.allclose(ours(bright, scaling) + ours(dark, scaling), 1.0, atol=1.1 / 65535)
    assert np.array_equal(ours(inverse, scaling), ours(dark, scaling))  # not turned around twice


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 10, 12, 15, 16])
def test_full_range_spreads_the_stored_bits_without_loss(bits: int, signed: bool) -> None:
    table = grey_table(image(bits=bits, signed=signed), stored_range(bits, signed), "full-range")
    assert (table[0], table[-1]) == (0, np.iinfo(table.dtype).max)
    assert (np.diff(table.astype(int)) > 0).all()  # every stored value stays distinct
    assert table.dtype == (np.uint8 if bits == 8 else np.uint16)


def test_without_voi_lut_and_window_voi_is_full_range() -> None:
    assert np.array_equal(ours(image(), "voi"), ours(image(), "full-range"))


def test_a_negative_slope_turns_the_image_around_in_every_scaling() -> None:
    ds = image(RescaleSlope=-1, RescaleIntercept=4095)
    assert (np.diff(ours(ds, "full-range")) < 0).all()
