"""A slide that is open: its levels, its resolution, and any region of it, whatever the format.

Coordinates are pixels of level 0 (the finest), from the slide's upper left corner, as OpenSlide has them.
"""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from advassay.sources.unreadable import Unreadable


class Region(NamedTuple):
    """Pixels of a region, and which share of it the scanner covered (the rest is white)."""

    pixels: np.ndarray
    scanned: float


class Slide(ABC):
    """format: vendor's or file format's name. sizes: (width, height) of each level, finest first. downsamples: of each
    level against level 0. mpp: µm per pixel of level 0, None where the file does not say. bounds: (x, y, width,
    height) of the part that holds anything, the whole slide where the file does not say."""

    format: str
    sizes: tuple[tuple[int, int], ...]
    downsamples: tuple[float, ...]
    mpp: float | None
    bounds: tuple[int, int, int, int]

    @abstractmethod
    def region(self, x: int, y: int, level: int, width: int, height: int) -> Region | None:
        """`width` × `height` pixels of `level` whose upper left corner is (x, y) of level 0; None where damaged.

        uint8 (height, width, 3) RGB; microscope images as they are stored: uint8 or uint16, grey ones 2-D.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back what the file holds."""

    def __enter__(self) -> Slide:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_slide(path: Path, folder: Path) -> Slide | Unreadable:
    """Open a slide (OpenSlide's formats, DICOM among them) or an image (PNG, JPEG, TIFF) in `folder`.

    By content, not by name. A file that cannot be opened is an `Unreadable`, never an exception.
    """
    from advassay.sources.slides.image_slide import open_image
    from advassay.sources.slides.scanned_slide import open_scanned

    real = regular_file(path, folder)
    if isinstance(real, Unreadable):
        return real
    scanned = open_scanned(real)
    return open_image(real, folder.resolve()) if scanned is None else scanned


def regular_file(path: Path, folder: Path) -> Path | Unreadable:
    """`path` with links resolved, if it is a file in `folder` that may be read and holds something."""
    try:
        real = path.resolve(strict=True)
        if not real.is_relative_to(folder.resolve()):
            return Unreadable("outside the folder", "the path leaves the source's folder")
        facts = os.stat(real)
        if not stat.S_ISREG(facts.st_mode):
            return Unreadable("not a file", "a directory, pipe or device")
        if facts.st_size == 0:
            return Unreadable("empty file", "0 bytes")
        with real.open("rb") as file:
            file.read(1)
    except PermissionError:
        return Unreadable("no permission", "the file may not be read")
    except (OSError, RuntimeError, ValueError) as error:  # no such file, a loop of links, a broken disk
        return Unreadable("missing", type(error).__name__)
    return real
