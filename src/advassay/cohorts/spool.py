"""Prepared images that were made while their files were decoded for the index, kept until it is known who is in.

A DICOM file is so decoded once, not twice; only small PNGs wait, on the disk, in a file that has no name and ends with
the process.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from advassay.cohorts.pixels import PixelRule, encode, prepare_pixels


def make_png(pixels: np.ndarray, rule: PixelRule) -> bytes:
    """The prepared image of `pixels`, as PNG at the depth of `pixels`, whatever depth `rule` states."""
    return encode(prepare_pixels(pixels, rule._replace(bits=8 * pixels.dtype.itemsize)))


class Spool:
    """PNGs by row of the source."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (lives as long as this object)
        self._places: dict[int, tuple[int, int]] = {}
        self._end = 0

    def put(self, row: int, png: bytes) -> None:
        self._file.seek(self._end)
        self._file.write(png)
        self._places[row] = (self._end, len(png))
        self._end += len(png)

    def get(self, row: int) -> bytes:
        """The PNG of `row`. Raises KeyError for a row that was not put here."""
        place, length = self._places[row]
        self._file.seek(place)
        return self._file.read(length)

    def __contains__(self, row: int) -> bool:
        return row in self._places

    def close(self) -> None:
        self._file.close()
