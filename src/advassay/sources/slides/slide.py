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

from advassay.sources.read_failures import Unreadable

COARSEST_TIFF_MPP = 40.0
"""A plain TIFF whose resolution tag says more µm per pixel (635 dpi or less) describes printing, not a microscope."""


TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of TIFF and BigTIFF files, in both byte orders."""


UNEQUAL_MPP = 0.02
"""Largest relative difference of two statements of a resolution that count as one."""


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
    mpp_from: str = "file"
    """Who says so: file, or the slides' table."""
    bounds: tuple[int, int, int, int]
    white: int | None = None
    """Of 16-bit slides the value that counts as full brightness in an overview; None = the largest of the type."""

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


def used_white(pixels: np.ndarray) -> int | None:
    """Largest value that the bits in use of 16-bit pixels hold; None for 8 bits.

    >>> used_white(np.array([[0, 3000]], np.uint16)), used_white(np.zeros((1, 1), np.uint8))
    (4095, None)
    """
    if pixels.dtype != np.uint16 or not pixels.size:
        return None
    return max(255, 2 ** int(pixels.max()).bit_length() - 1)


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
