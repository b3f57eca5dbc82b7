"""Pixels of one image as they go into the cohort: channels chosen, scaled, square, in the cohort's depth."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

import cv2
import numpy as np
import polars as pl

from advassay.cohorts.selection_counts import SelectionCounts
from advassay.spec.cohort_spec import CohortSpec

_GREY_BY_NATURE = re.compile(r"(?i)x[-\s]?ray|radiogra|r(ö|oe)ntgen|mammogra|\b(cxr|cr|dx|ct|mri?)\b")
"""Image types whose detectors record one number a pixel. Colour in them comes from a scanner, a screen or a marker."""


def is_grey_by_nature(image_type: str | None) -> bool:
    """Whether images of this type have one channel whatever their files hold.

    >>> [is_grey_by_nature(text) for text in ("X-ray", "chest radiographs", "histology", None)]
    [True, True, False, False]
    """
    return bool(image_type and _GREY_BY_NATURE.search(image_type))


def choose_channels(images: pl.DataFrame, spec: CohortSpec, flow: SelectionCounts) -> int:
    """Channels of the prepared images: what the cohort asks for, 1 for X-rays and where all are grey, otherwise 3.

    `images`: class_name, image_type, coloured. Images in colour among grey ones are counted per class in a warning: a
    network may learn the colour instead of the disease.
    """
    coloured = int(images["coloured"].sum())
    types = [spec.image_type] if spec.image_type else images["image_type"].unique().to_list()
    grey_by_nature = bool(types) and all(is_grey_by_nature(name) for name in types)
    channels = spec.channels or (1 if grey_by_nature or not coloured else 3)
    if coloured and (coloured < images.height or (grey_by_nature and channels == 1)):
        flow.warnings.append(_mixture(images, coloured, spec, channels, grey_by_nature))
    return channels


def _mixture(images: pl.DataFrame, coloured: int, spec: CohortSpec, channels: int, grey_by_nature: bool) -> str:
    per_class = {
        name: (int(part["coloured"].sum()), part.height)
        for name in spec.classes
        if (part := images.filter(pl.col("class_name") == name)).height
    }
    counts = ", ".join(f"{name} {number:,} of {whole:,}" for name, (number, whole) in per_class.items())
    told = f"{coloured:,} of {images.height:,} images are in colour ({counts})"
    if channels == 3:
        return f"{told}, the others grey: a network may tell classes by colour. channels: 1 prepares all of them grey."
    if grey_by_nature and 2 * coloured > images.height:
        return (
            f"{told}, but X-rays are prepared grey. If these are no X-rays, correct image_type; channels: 3 keeps the "
            "colour."
        )
    return f"{told}: all are prepared grey (channels: 1)."


PERCENTILES = (0.5, 99.5)
LARGEST = {8: 255, 16: 65535}


class PixelRule(NamedTuple):
    """How every image of a cohort is made: side in pixels, 1 or 3 channels, depth of the PNG, and the two choices."""

    size_px: int
    channels: int
    bits: int
    scaling: Literal["full-range", "percentile", "voi"]
    resize: Literal["squash", "crop", "pad"]


def prepare_pixels(pixels: np.ndarray, rule: PixelRule) -> np.ndarray:
    """(height, width) or (height, width, 3) unsigned 8/16-bit RGB → (size, size[, 3]) unsigned at `rule.bits`.

    Of a masked array, what is masked is no image: it does not count in percentiles and becomes black. All arithmetic is
    float32 on the native depth; rounding happens once, at the end. Grey from colour is the
    BT.601 luma (exactly the grey value where the three channels are equal); colour from grey repeats it.
    """
    unit = scale(pixels, rule.scaling)
    if isinstance(pixels, np.ma.MaskedArray):
        unit[np.ma.getmaskarray(pixels)] = 0.0
    if rule.channels == 1 and unit.ndim == 3:
        unit = cv2.cvtColor(unit, cv2.COLOR_RGB2GRAY)
    square = make_square(unit, rule.size_px, rule.resize)
    if rule.channels == 3 and square.ndim == 2:
        square = np.repeat(square[:, :, None], 3, axis=2)
    stored = np.rint(np.clip(square, 0.0, 1.0) * LARGEST[rule.bits])
    return stored.astype(np.uint8 if rule.bits == 8 else np.uint16)


def scale(pixels: np.ndarray, scaling: str) -> np.ndarray:
    """Stored values → float32 in [0, 1]: by the largest storable value, or between two percentiles of this image.

    `voi` was applied where the file was read, from its stored bits; the result fills the whole range of 16 bits.

    >>> scale(np.array([[0, 51, 255]], np.uint8), "full-range").tolist()
    [[0.0, 0.20000000298023224, 1.0]]
    """
    stored = np.ma.getdata(pixels)
    if scaling in ("full-range", "voi"):
        unit = stored.astype(np.float32)  # divided in place: half the time of np.divide(stored, …, dtype=np.float32)
        unit /= np.float32(np.iinfo(stored.dtype).max)
        return unit
    low, high = percentiles(pixels)
    unit = stored.astype(np.float32)
    unit -= np.float32(low)
    unit /= np.float32(max(high - low, 1.0))
    return np.clip(unit, 0.0, 1.0, out=unit)


def percentiles(pixels: np.ndarray) -> tuple[float, float]:
    """The 0.5th and the 99.5th percentile of unsigned 8/16-bit values, as np.percentile interpolates them, from how
    often each value occurs: several times faster. What a masked array masks does not count.

    >>> percentiles(np.arange(256, dtype=np.uint8)) == tuple(np.percentile(np.arange(256), PERCENTILES))
    True
    """
    counted = np.cumsum(_histogram(pixels))
    total = int(counted[-1])
    found = []
    for share in PERCENTILES:
        place = share / 100 * (total - 1)
        below = int(place)
        part = place - below
        low, high = (int(np.searchsorted(counted, index, "right")) for index in (below, min(below + 1, total - 1)))
        found.append(high - (high - low) * (1 - part) if part >= 0.5 else low + (high - low) * part)
    return found[0], found[1]


_EXACT = 1 << 24
"""Counts above it are no longer whole in the float32 of OpenCV's histogram."""


def _histogram(pixels: np.ndarray) -> np.ndarray:
    """How often each value occurs: int64 (256 or 65536,)."""
    stored = np.ma.getdata(pixels)
    levels = int(np.iinfo(stored.dtype).max) + 1
    if stored.ndim == 3 or stored.size > _EXACT:
        return np.bincount(np.ma.compressed(pixels), minlength=levels)
    shown = (~np.ma.getmaskarray(pixels)).astype(np.uint8) if isinstance(pixels, np.ma.MaskedArray) else None
    return cv2.calcHist([np.ascontiguousarray(stored)], [0], shown, [levels], [0, levels]).ravel().astype(np.int64)


def used_bits(largest: int) -> int:
    """Bits that the stored values up to `largest` need.

    >>> used_bits(4095), used_bits(4096)
    (12, 13)
    """
    return int(largest).bit_length()


def make_square(image: np.ndarray, size: int, resize: str) -> np.ndarray:
    """Square of side `size` by changing the aspect (squash), cutting the centre (crop) or padding with black (pad)."""
    height, width = image.shape[:2]
    if resize == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        image = image[top : top + side, left : left + side]
    elif resize == "pad":
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        image = cv2.copyMakeBorder(
            image, top, side - height - top, left, side - width - left, cv2.BORDER_CONSTANT, value=0
        )
    return _to_size(image, size)


def _to_size(image: np.ndarray, size: int) -> np.ndarray:
    """Shrink by area averages (no aliasing), enlarge by cubic interpolation; each direction by its own rule."""
    height, width = image.shape[:2]
    if (height, width) == (size, size):
        return image
    smaller = (min(width, size), min(height, size))
    if smaller != (width, height):
        image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
    if smaller != (size, size):
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC)
    return image


def encode(image: np.ndarray) -> bytes:
    """Lossless PNG of (height, width) grey or (height, width, 3) RGB, 8 or 16 bit."""
    stored = image[:, :, ::-1] if image.ndim == 3 else image
    return cv2.imencode(".png", np.ascontiguousarray(stored))[1].tobytes()


def decode(png: bytes) -> np.ndarray:
    """float32 (channel, height, width) in [0, 1] from the PNG bytes of a prepared image."""
    image = np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED))
    planes = image[None] if image.ndim == 2 else image[:, :, ::-1].transpose(2, 0, 1)
    return np.divide(planes, np.iinfo(image.dtype).max, dtype=np.float32)
