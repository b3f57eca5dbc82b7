"""One DICOM file → grey levels, or a reason. Runs in a worker process: decoders are C code that reads hostile bytes."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np

from advassay.sources.dicom.opening_file import open_dicom_file
from advassay.sources.dicom.rendering import StoredRange, grey_table, stored_range
from advassay.sources.unreadable import Unreadable

EDGES = (0.005, 0.995)
"""Contrast is judged between these shares of the pixels."""
MOST_STRETCH = 8.0
"""Pixels this much longer than wide are an error in (0028,0034), not a detector."""


class PixelRules(NamedTuple):
    """What a radiograph must be to be used; fields of DicomSource, and the cohort's scaling."""

    scaling: str = "full-range"
    most_pixels: int = 64_000_000
    least_contrast: float = 0.01
    most_clipped: float = 0.6


def read_pixels(path: str | bytes, rules: PixelRules) -> np.ndarray | Unreadable:
    """Grey levels of the image at `path`, dark to bright: uint8 or uint16 (height, width). Never raises for a bad file.

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
        except Exception as error:  # pydicom and its plug-ins raise whatever a broken element leads to
            return Unreadable("damaged", f"does not decode: {type(error).__name__}")


def _render(file: Any, rules: PixelRules) -> np.ndarray | Unreadable:
    import pydicom

    ds = pydicom.dcmread(file, force=True)
    refused = _refused(ds, rules)
    if refused is not None:
        return refused
    stored = stored_range(int(ds.BitsStored), int(ds.get("PixelRepresentation") or 0) == 1)
    places = _places(_decoded(ds), ds, stored)
    if isinstance(places, Unreadable):
        return places
    levels = stored.high - stored.low + 1
    counts = cv2.calcHist([places], [0], None, [levels], [0, levels]).ravel().astype(np.float64)
    unusable = _unusable(counts, rules)
    if unusable is not None:
        return unusable
    try:
        table = grey_table(ds, stored, rules.scaling)
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        return Unreadable("damaged", f"a LUT or window that does not apply: {type(error).__name__}")
    return square_pixels(np.take(table, places), _aspect(ds), rules.most_pixels)


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


def _decoded(ds: Any) -> np.ndarray:
    """Values as stored, (height, width), by pydicom and its plug-ins. Raises for what does not decode."""
    from pydicom.pixels import pixel_array

    from advassay.sources.dicom.headers import transfer_syntax

    if not ds.file_meta.get("TransferSyntaxUID"):  # no file meta: the decoder needs to be told
        ds.file_meta.TransferSyntaxUID = transfer_syntax(ds)
    values = pixel_array(ds, correct_unused_bits=False)  # `_places` looks at them first
    if values.shape != (int(ds.Rows), int(ds.Columns)):
        raise ValueError(f"decoded as {values.shape}")
    return values


def _places(values: np.ndarray, ds: Any, stored: StoredRange) -> np.ndarray | Unreadable:
    """The place of each value in `stored`: uint16 (height, width), 0 = the lowest value that can be stored."""
    if ds.file_meta.TransferSyntaxUID.is_encapsulated:
        values = np.clip(values, stored.low, stored.high)  # lossy codecs overshoot
    elif stored.low == 0 and not _shift(ds) and values.max() <= stored.high:
        return values.astype(np.uint16, copy=False)
    else:
        wide = values.astype(np.int32) >> _shift(ds)
        beyond = wide >> int(ds.BitsStored)
        if not _has_overlay(ds) and (beyond.max() > 0 or beyond.min() < (-1 if stored.low < 0 else 0)):
            return Unreadable("damaged", f"values beyond the {int(ds.BitsStored)} bits stored")
        wide &= (1 << int(ds.BitsStored)) - 1
        values = np.where(wide > stored.high, wide - (1 << int(ds.BitsStored)), wide)  # two's complement
    return (values.astype(np.int32) - stored.low).astype(np.uint16)


def _shift(ds: Any) -> int:
    """(0028,0102) High Bit above Bits Stored - 1: the value lies in the upper bits of its word (PS3.5 §8.1.1)."""
    return max(0, int(ds.get("HighBit") or 0) + 1 - int(ds.BitsStored))


def _has_overlay(ds: Any) -> bool:
    """A group 60xx: in files before 2004 its bits may lie beside the value in Pixel Data (PS3.5 §8.1.2)."""
    return any(tag >> 16 & 0xFF00 == 0x6000 for tag in ds.keys())  # noqa: SIM118 (a Dataset iterates elements)


def _unusable(counts: np.ndarray, rules: PixelRules) -> Unreadable | None:
    """The technical rules. A constant image passes: the index calls it blank."""
    levels = np.flatnonzero(counts)
    if len(levels) < 2:
        return None
    total, running = counts.sum(), np.cumsum(counts)
    low, high = np.searchsorted(running, np.multiply(EDGES, total))
    contrast = (high - low) / (len(counts) - 1)
    if contrast < rules.least_contrast:
        detail = f"contrast {contrast:.4f} of the stored range, at least {rules.least_contrast:g}"
        return Unreadable("almost constant", detail)
    clipped = max(counts[levels[0]], counts[levels[-1]]) / total
    if clipped > rules.most_clipped:
        return Unreadable("clipped", f"{clipped:.0%} of the pixels at one end, at most {rules.most_clipped:.0%}")
    return None


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
