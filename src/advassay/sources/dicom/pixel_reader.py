"""One DICOM file → grey levels, or a reason. Runs in a worker process: decoders are C code that reads hostile bytes."""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import cv2
import numpy as np

from advassay.sources.dicom.grayscale_pipeline import StoredRange, grey_table, stored_range
from advassay.sources.dicom.open_dicom_file import open_dicom_file
from advassay.sources.dicom.padding_and_shutters import padding_mask, padding_range, shutter_mask
from advassay.sources.dicom.pixel_data import (
    BITS_MASKED,
    BYTES_LEFT,
    STREAM_BITS,
    VALUES_LOW,
    decode_words,
    stored_values,
)
from advassay.sources.read_failures import Unreadable

_LUT_OF_16_BITS = int(cv2.__version__.split(".")[0]) >= 5
"""Whether OpenCV looks up 16-bit values, in half the time of NumPy."""
EDGES = (0.005, 0.995)
"""Contrast is judged between these shares of the pixels."""
LEAST_BETWEEN = 1 / 8
"""Of the share that one end must leave to others (1 − most_clipped), this share must lie between the two ends."""
MOST_STRETCH = 8.0
"""Pixels this much longer than wide are an error in (0028,0034), not a detector."""


class PixelRules(NamedTuple):
    """What a radiograph must be to be used; fields of DicomSource, and the cohort's scaling."""

    scaling: str = "full-range"
    most_pixels: int = 64_000_000
    least_contrast: float = 0.01
    most_clipped: float = 0.6
    turn: bool = False
    """Whether (0020,0020) Patient Orientation turns the image so that the patient's left is on its right."""


class DecodedImage(NamedTuple):
    """pixels: uint8 or uint16 (height, width), dark to bright; a masked array where some pixels are declared not to be
    image (they are black). notes: what had to be decided to read it, from the list NOTES."""

    pixels: np.ndarray
    notes: tuple[str, ...] = ()


SHUTTER_IGNORED = "shutter without meaning"
NOTES = {
    BITS_MASKED: "have bits set beyond Bits Stored that are no part of the values: masked (PS3.5 §8.1.1)",
    VALUES_LOW: "have a High Bit that their values contradict: the values were believed",
    STREAM_BITS: "are compressed with another number of bits than the header states: every value was kept",
    SHUTTER_IGNORED: "declare a shutter that leaves no pixel or is incomplete: ignored",
    BYTES_LEFT: "hold more bytes of pixel data than rows, columns and bits need: the rest was ignored",
}
"""What may be noted about an image → the rest of a sentence that begins with a number of images."""


def read_pixels(path: str | bytes, rules: PixelRules) -> DecodedImage | Unreadable:
    """Grey levels of the image at `path`. Never raises for a bad file.

    Non-square pixels are made square along their longer side. What `rules` call unusable is an Unreadable.
    """
    file = open_dicom_file(path)
    if isinstance(file, Unreadable):
        return file
    with file:
        try:
            return _render(file, rules)
        except MemoryError:
            return Unreadable("too large", "decoding does not fit into the memory of one reader")
        except BaseException as error:  # pydicom and its plug-ins raise whatever a broken element leads to
            if (
                not isinstance(error, Exception) and type(error).__name__ != "PanicException"
            ):  # Rust's, of the RLE plug-in
                raise
            return Unreadable("damaged", f"does not decode: {type(error).__name__}")


def _render(file: Any, rules: PixelRules) -> DecodedImage | Unreadable:
    import pydicom

    ds = pydicom.dcmread(file, force=True)
    refused = _refused(ds, rules)
    if refused is not None:
        return refused
    stored = stored_range(int(ds.BitsStored), int(ds.get("PixelRepresentation") or 0) == 1)
    read = _stored(ds, stored)
    if isinstance(read, Unreadable):
        return read
    values, mask, notes = read
    if mask is not None and mask.all():
        return Unreadable("almost constant", "every pixel is declared padding or lies behind a shutter")
    places = values if not stored.low and values.dtype == np.uint16 else (values - stored.low).astype(np.uint16)
    counts = _histogram(places, stored.high - stored.low + 1, mask)
    unusable = judge_levels(counts, rules)
    if unusable is not None:
        return unusable
    try:
        table = grey_table(ds, stored, rules.scaling)
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        return Unreadable("damaged", f"a LUT or window that does not apply: {type(error).__name__}")
    if rules.scaling == "voi":  # a window may throw away what the file holds
        shown = np.bincount(table, weights=counts, minlength=int(np.iinfo(table.dtype).max) + 1)
        if (unusable := judge_levels(shown, rules, " after the window")) is not None:
            return unusable
    grey = _through(table, places)
    if mask is not None:
        grey = np.where(mask, 0, grey).astype(grey.dtype)
    square = _squared(grey, mask, _aspect(ds), rules.most_pixels)
    if isinstance(square, Unreadable):
        return square
    return DecodedImage(turned(square, orientation_of(ds)) if rules.turn else square, notes)


def _refused(ds: Any, rules: PixelRules) -> Unreadable | None:
    """What the header forbids, before a decoder allocates what it declares."""
    rows, columns = int(ds.Rows), int(ds.Columns)
    if rows * columns > rules.most_pixels:
        return Unreadable("too large", f"declares {columns} × {rows} pixels, at most {rules.most_pixels:,}")
    if int(ds.get("NumberOfFrames") or 1) > 1 or int(ds.get("SamplesPerPixel") or 1) != 1:
        return Unreadable("unsupported pixels", "several frames or samples per pixel")
    if "PixelData" not in ds:
        return Unreadable("unsupported pixels", "no whole-number (7FE0,0010) Pixel Data")
    if int(ds.BitsAllocated) not in (8, 16) or not 1 < int(ds.BitsStored) <= int(ds.BitsAllocated):
        return Unreadable("unsupported pixels", f"{int(ds.BitsStored)} bits stored in {int(ds.BitsAllocated)}")
    return None


def _stored(ds: Any, stored: StoredRange) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]] | Unreadable:
    """Stored values (height, width); where they are no image, or None; notes."""
    decoded = decode_words(ds)
    if isinstance(decoded, Unreadable):
        return decoded
    words, notes = decoded
    padding = padding_range(ds)
    mask = None
    if padding is not None and not (stored.low <= padding[0] and padding[1] <= stored.high):
        mask = padding_mask(words, padding)  # before the bits beyond the stored ones are looked at
        words = words if mask is None else np.where(mask, 0, words).astype(words.dtype)
    read = stored_values(words, ds, stored)
    if isinstance(read, Unreadable):
        return read
    notes += [read.note] if read.note else []
    masks = [mask, padding_mask(read.values, padding)]
    try:
        masks.append(shutter_mask(ds))
    except (ValueError, TypeError):
        notes.append(SHUTTER_IGNORED)
    given = [one for one in masks if one is not None]
    return read.values, np.logical_or.reduce(given) if given else None, tuple(notes)


def _histogram(places: np.ndarray, levels: int, mask: np.ndarray | None) -> np.ndarray:
    """How many pixels of the image have each stored value: float64 (levels,)."""
    image = None if mask is None else (~mask).astype(np.uint8)
    return cv2.calcHist([places], [0], image, [levels], [0, levels]).ravel().astype(np.float64)


def judge_levels(counts: np.ndarray, rules: PixelRules, when: str = "") -> Unreadable | None:
    """The technical rules over how often each level occurs. A constant image passes: the index calls it blank."""
    levels = np.flatnonzero(counts)
    if len(levels) < 2:
        return None
    total, running = counts.sum(), np.cumsum(counts)
    low, high = np.searchsorted(running, np.multiply(EDGES, total))
    contrast = (high - low) / (len(counts) - 1)
    if contrast < rules.least_contrast:
        detail = f"contrast {contrast:.4f} of the range{when}, at least {rules.least_contrast:g}"
        return Unreadable("almost constant", detail)
    ends = counts[levels[0]] / total, counts[levels[-1]] / total
    least_between = (1 - rules.most_clipped) * LEAST_BETWEEN
    if 1 - sum(ends) < least_between:
        detail = f"{1 - sum(ends):.1%} of the pixels lie between the ends{when}, at least {least_between:.1%}"
        return Unreadable("two-level", detail)
    if max(ends) > rules.most_clipped:
        detail = f"{max(ends):.0%} of the pixels at one end{when}, at most {rules.most_clipped:.0%}"
        return Unreadable("clipped", detail)
    return None


def _through(table: np.ndarray, places: np.ndarray) -> np.ndarray:
    """`table` of every place."""
    if table.dtype == np.uint16 and len(table) == 1 << 16 and np.array_equal(table, np.arange(1 << 16)):
        return places
    if not _LUT_OF_16_BITS:
        return np.take(table, places)
    whole = np.zeros(1 << 16, table.dtype)
    whole[: len(table)] = table
    return np.asarray(cv2.LUT(places, whole))


def _squared(grey: np.ndarray, mask: np.ndarray | None, aspect: float, most_pixels: int) -> np.ndarray | Unreadable:
    square = square_pixels(grey, aspect, most_pixels)
    if mask is None or isinstance(square, Unreadable):
        return square
    if square.shape != mask.shape:
        size = (square.shape[1], square.shape[0])
        mask = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
    return np.ma.MaskedArray(square, mask)


def _aspect(ds: Any) -> float:
    """Height of a pixel over its width, from (0028,0030) Pixel Spacing, (0018,1164) Imager Pixel Spacing or (0028,0034)
    Pixel Aspect Ratio (PS3.3 §10.7.1.3, §C.7.6.3.1.7); 1 where none says anything sensible."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"):
        try:
            vertical, horizontal = (float(number) for number in ds.get(keyword) or ())
        except (ValueError, TypeError):
            continue
        if vertical > 0 and horizontal > 0 and np.isfinite(vertical / horizontal):
            return vertical / horizontal
    return 1.0


def square_pixels(image: np.ndarray, aspect: float, most_pixels: int) -> np.ndarray | Unreadable:
    """`image` with pixels divided along their longer side until they are square, by linear interpolation; as it is
    within 1 %."""
    if abs(aspect - 1.0) <= 0.01:
        return image
    if not 1 / MOST_STRETCH <= aspect <= MOST_STRETCH:
        return Unreadable("wrong aspect", f"pixels {aspect:.3g} times as high as wide")
    height, width = image.shape
    size = (width, round(height * aspect)) if aspect > 1 else (round(width / aspect), height)
    if size[0] * size[1] > most_pixels:
        return Unreadable("too large", f"{size[0]} × {size[1]} square pixels, at most {most_pixels:,}")
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR))


_FRONTAL = {*product("LR", "FH"), *product("FH", "LR")}
"""First letters of rows and columns of Patient Orientation where both lie in the frontal plane, so can be turned."""


def orientation_of(ds: Any) -> tuple[str, str] | None:
    """Letters of rows and columns of a frontal image; None where they are not stated or not of a frontal image."""
    stated = ds.get("PatientOrientation")
    parts = [str(part).strip().upper()[:1] for part in stated] if stated and not isinstance(stated, str) else []
    letters = tuple(parts)
    return letters if letters in _FRONTAL else None  # type: ignore[return-value]


def turned(image: np.ndarray, letters: tuple[str, str] | None) -> np.ndarray:
    """`image` turned and mirrored until its rows lead to the patient's left and its columns to the feet.

    >>> turned(np.array([[1, 2], [3, 4]]), ("R", "F")).tolist(), turned(np.array([[1, 2], [3, 4]]), ("F", "L")).tolist()
    ([[2, 1], [4, 3]], [[1, 3], [2, 4]])
    """
    if letters is None or letters == ("L", "F"):
        return image
    along, down = letters
    if along in "HF":
        image, along, down = image.T, down, along
    if along == "R":
        image = image[:, ::-1]
    if down == "H":
        image = image[::-1]
    return image.copy()
