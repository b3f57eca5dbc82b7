"""A file → an open slide, whatever its format: by OpenSlide, as a TIFF, or as a microscope image of one level.

OpenSlide: https://openslide.org/api/python/ (properties, read_region).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import openslide

from advassay.sources.image_decoder import read_image
from advassay.sources.read_failures import Unreadable
from advassay.sources.slides.slide import (
    COARSEST_TIFF_MPP,
    TIFF_SIGNATURES,
    UNEQUAL_MPP,
    Region,
    Slide,
    regular_file,
    used_white,
)
from advassay.sources.slides.tiff_slide import open_tiff


class ScannedSlide(Slide):
    """Regions are read and decoded on demand; several threads may read.

    OpenSlide keeps no open file usable after an error, so a damaged place costs one new opening, not the slide.
    """

    def __init__(self, path: Path, opened: openslide.OpenSlide) -> None:
        self._path, self._opened, self._lock = path, opened, threading.Lock()
        properties = opened.properties
        self.format = properties.get(openslide.PROPERTY_NAME_VENDOR, "unknown")
        self.sizes = tuple(opened.level_dimensions)
        self.downsamples = tuple(float(value) for value in opened.level_downsamples)
        self.mpp = _mpp(self.format, properties)
        self.bounds = _bounds(properties, self.sizes[0])

    def region(self, x: int, y: int, level: int, width: int, height: int) -> Region | None:
        opened = self._opened
        try:
            return _read(opened, x, y, level, width, height)
        except openslide.OpenSlideError:  # here, or in another thread: the file is lost to all either way
            return self._alone(opened, x, y, level, width, height)

    def _alone(self, failed: openslide.OpenSlide, x: int, y: int, level: int, width: int, height: int) -> Region | None:
        """Read once more from a file that no other thread can fail; None if that fails too."""
        try:
            with self._lock:
                if self._opened is failed:
                    self._opened = openslide.OpenSlide(self._path)
            with openslide.OpenSlide(self._path) as own:
                return _read(own, x, y, level, width, height)
        except (openslide.OpenSlideError, OSError):  # OSError: the file is gone meanwhile
            return None

    def close(self) -> None:
        self._opened.close()


def is_scanners_own(path: Path) -> bool:
    """Whether OpenSlide knows the file as one scanner's format, not as a TIFF like any other."""
    return openslide.OpenSlide.detect_format(path) not in (None, "generic-tiff")


def open_scanned(path: Path) -> ScannedSlide | Unreadable | None:
    """Open what OpenSlide recognises; None for other files and for plain TIFFs that it would cut to 8 bits."""
    vendor = openslide.OpenSlide.detect_format(path)
    if vendor is None or (vendor == "generic-tiff" and not _is_8_bit(path)):
        return None
    try:
        return ScannedSlide(path, openslide.OpenSlide(path))
    except (openslide.OpenSlideError, ValueError) as error:
        return Unreadable("unsupported slide", f"{vendor}: {_without_path(error)}")


def _read(opened: openslide.OpenSlide, x: int, y: int, level: int, width: int, height: int) -> Region:
    with opened.read_region((x, y), level, (width, height)) as image:
        return _on_white(np.asarray(image))


def _mpp(vendor: str, properties: Mapping[str, str]) -> float | None:
    try:
        x = float(properties[openslide.PROPERTY_NAME_MPP_X])
        y = float(properties[openslide.PROPERTY_NAME_MPP_Y])
    except (KeyError, ValueError):
        return None
    if not (0 < x < 1e4 and 0 < y < 1e4) or abs(x - y) > UNEQUAL_MPP * max(x, y):
        return None
    if vendor == "generic-tiff" and x > COARSEST_TIFF_MPP:
        return None
    return (x + y) / 2


def _bounds(properties: Mapping[str, str], size: tuple[int, int]) -> tuple[int, int, int, int]:
    names = ("X", "Y", "WIDTH", "HEIGHT")
    try:
        x, y, width, height = (int(properties[getattr(openslide, f"PROPERTY_NAME_BOUNDS_{name}")]) for name in names)
    except (KeyError, ValueError):
        return (0, 0, *size)
    x, y = max(x, 0), max(y, 0)
    return x, y, min(width, size[0] - x), min(height, size[1] - y)


def _on_white(rgba: np.ndarray) -> Region:
    covered = rgba[:, :, 3] > 0
    scanned = float(covered.mean()) if covered.size else 0.0
    if scanned == 1.0:
        return Region(np.ascontiguousarray(rgba[:, :, :3]), 1.0)
    return Region(np.where(covered[:, :, None], rgba[:, :, :3], np.uint8(255)), scanned)


def _is_8_bit(path: Path) -> bool:
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            return file.pages[0].dtype == np.uint8
    except Exception:  # tifffile raises whatever a broken file makes it stumble over
        return False


def _without_path(error: Exception) -> str:
    """OpenSlide's words about a file, without the file's name."""
    words = str(error).rsplit(": ", 1)[-1]
    return type(error).__name__ if "/" in words or "\\" in words else words[:120]


class ImageSlide(Slide):
    """Regions are parts of the array. Resolution tags of such files describe printing, so `mpp` is never stated."""

    def __init__(self, pixels: np.ndarray, format: str) -> None:
        height, width = pixels.shape[:2]
        self.format = format
        self.sizes = ((width, height),)
        self.downsamples = (1.0,)
        self.mpp = None
        self.bounds = (0, 0, width, height)
        self.white = used_white(pixels)
        self._pixels = pixels

    def region(self, x: int, y: int, level: int, width: int, height: int) -> Region | None:
        inside = self._pixels[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)]
        if inside.shape[:2] == (height, width):
            return Region(inside, 1.0)
        white = np.iinfo(inside.dtype).max
        whole = np.full((height, width, *inside.shape[2:]), white, inside.dtype)
        top, left = max(-y, 0), max(-x, 0)
        whole[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
        return Region(whole, inside.shape[0] * inside.shape[1] / (height * width))

    def close(self) -> None:
        self._pixels = self._pixels[:0]


def open_image(path: Path, folder: Path) -> ImageSlide | Unreadable:
    """Decode the image at `path`, at most 64 million pixels; a larger one must be a tiled TIFF."""
    pixels = read_image(path, folder)
    if isinstance(pixels, Unreadable):
        if pixels.reason == "too large":
            return Unreadable("too large", f"{pixels.detail}; larger ones are read as tiled 8-bit TIFF or a slide")
        return pixels
    with path.open("rb") as file:
        start = file.read(4)
    return ImageSlide(pixels, "png" if start[1:4] == b"PNG" else "jpeg" if start[:2] == b"\xff\xd8" else "tiff")


# ---- any file --------------------------------------------------------------------------------------------------------


def open_slide(path: Path, folder: Path, channel: str | int | None = None) -> Slide | Unreadable:
    """Open a slide (OpenSlide's formats, DICOM among them, OME-TIFF, QPTIFF) or an image (PNG, JPEG, TIFF) in `folder`.

    By content, not by name. `channel`: of a fluorescence file with several. A file that cannot be opened is an
    `Unreadable`, never an exception.
    """
    real = regular_file(path, folder)
    if isinstance(real, Unreadable):
        return real
    with real.open("rb") as file:
        is_tiff = file.read(4) in TIFF_SIGNATURES
    own = is_scanners_own(real)
    tiff = open_tiff(real, channel, plain=False) if is_tiff and not own else None
    found = tiff or open_scanned(real) or (open_tiff(real, channel, plain=True) if is_tiff and not own else None)
    return found or open_image(real, folder.resolve())
