"""A microscope image (PNG, JPEG, TIFF) as a slide of one level. It fits in memory: the room's caps hold for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from advassay.sources.decode import read_image
from advassay.sources.slides.slide import Region, Slide, used_white
from advassay.sources.unreadable import Unreadable


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
