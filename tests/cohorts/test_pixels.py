"""Pixels of prepared images."""

from __future__ import annotations

import numpy as np
import pytest

from advassay.cohorts.image_preparation import PixelRule, decode, encode, prepare_pixels
from tests.cohorts.conftest import picture


def rule(size: int = 16, channels: int = 1, bits: int = 8, scaling: str = "full-range", resize: str = "squash"):
    return PixelRule(size, channels, bits, scaling, resize)  # type: ignore[arg-type]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("shape", [(16, 16), (16, 16, 3)])
def test_an_image_of_the_right_size_comes_back_bit_for_bit(bits, shape):
    pixels = picture(1, bits=bits, shape=shape)
    stored = prepare_pixels(pixels, rule(channels=1 if len(shape) == 2 else 3, bits=bits))
    assert np.array_equal(stored, pixels)
    planes = pixels[None] if len(shape) == 2 else pixels.transpose(2, 0, 1)
    assert np.array_equal(decode(encode(stored)), (planes / (2**bits - 1)).astype(np.float32))


def test_sixteen_bits_are_not_squeezed_through_eight():
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    assert len(np.unique(prepare_pixels(ramp, rule(32, bits=16)))) > 1000


@pytest.mark.parametrize(("resize", "share"), [("squash", 0.5), ("crop", 0.5), ("pad", 0.25)])
def test_squash_changes_the_aspect_crop_cuts_pad_adds_black(resize, share):
    wide = np.zeros((32, 64), np.uint8)
    wide[:, 16:32] = 255
    wide[:, 48:] = 255 if resize != "crop" else 0
    square = prepare_pixels(wide, rule(16, resize=resize))
    assert square.shape == (16, 16)
    assert (square == 255).mean() == share
    assert (square[0] == 0).all() == (resize == "pad")


def test_shrinking_averages_instead_of_picking_pixels():
    checkerboard = (np.indices((64, 64)).sum(axis=0) % 2 * 254).astype(np.uint8)
    assert (prepare_pixels(checkerboard, rule(16)) == 127).all()


@pytest.mark.parametrize("shape", [(6, 6), (6, 40), (40, 6)])
def test_enlarging_stays_in_range_and_each_direction_has_its_own_rule(shape):
    edge = np.zeros(shape, np.uint8)
    edge[:, shape[1] // 2 :] = 255
    grown = prepare_pixels(edge, rule(24))
    assert grown.min() == 0
    assert grown.max() == 255


def test_percentile_scaling_stretches_twelve_bit_data_and_full_range_does_not():
    twelve = picture(2, bits=12, shape=(64, 64)).astype(np.uint16)
    assert prepare_pixels(twelve, rule(64, bits=16)).max() < 4096
    stretched = prepare_pixels(twelve, rule(64, bits=16, scaling="percentile"))
    assert (stretched.min(), stretched.max()) == (0, 65535)


def test_grey_saved_as_colour_is_the_same_grey():
    grey = picture(3, shape=(16, 16))
    assert np.array_equal(prepare_pixels(np.stack([grey] * 3, axis=2), rule()), grey)
    assert np.array_equal(prepare_pixels(grey, rule(channels=3)), np.stack([grey] * 3, axis=2))
