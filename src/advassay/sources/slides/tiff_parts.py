"""Parts of one TIFF image: the tiles or strips that a rectangle needs, read and decoded one by one.

TIFF 6.0 §15 (tiles), §8 (PlanarConfiguration), §22 and Technote 2 (JPEG). What the tifffile library decodes without
further packages, it decodes; JPEG and LZW go through OpenCV.
"""

from __future__ import annotations

import os
import struct
from typing import Any

import numpy as np

from advassay.sources.image_decoder import silent_opencv
from advassay.sources.read_failures import MAX_PIXELS

_NONE, _LZW, _JPEG, _PACKBITS = 1, 5, 7, 32773
_BY_TIFFFILE = frozenset({_NONE, 8, 32946, _PACKBITS, 34925})
_JPEG2000 = frozenset({33005, 34712})
_YCBCR, _RGB = 6, 2
_ADOBE_RGB = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
"""Marker that tells a JPEG decoder that the components are RGB as they are (ITU-T T.872 §6.5.3)."""
_LARGEST_PART = 1 << 30


def unreadable_because(page: Any) -> str | None:
    """Why parts of `page` (a tifffile page) cannot be read; None where they can."""
    if page.dtype not in (np.uint8, np.uint16):
        return f"samples of type {page.dtype}"
    compression = int(page.compression)
    if compression not in _BY_TIFFFILE | _JPEG2000 | {_LZW, _JPEG}:
        return f"compression {page.compression.name}"
    if compression in _JPEG2000 | {_JPEG} and page.dtype != np.uint8:
        return f"compression {page.compression.name} with samples of type {page.dtype}"
    if compression == _LZW and int(page.predictor) not in (1, 2):
        return f"predictor {page.predictor}"
    height = page.tilelength if page.is_tiled else page.rowsperstrip
    width = page.tilewidth if page.is_tiled else page.imagewidth
    if compression != _NONE and width * min(height, page.imagelength) > MAX_PIXELS:
        return f"parts of {width} × {height} pixels"
    return None


class PageReader:
    """Reads rectangles of one page. Several threads may read."""

    def __init__(self, descriptor: int, page: Any, byte_order: str) -> None:
        self._descriptor, self._page, self._order = descriptor, page, byte_order
        self.width, self.height = int(page.imagewidth), int(page.imagelength)
        self._separate = int(page.planarconfig) == 2 and page.samplesperpixel > 1
        self.samples = int(page.samplesperpixel)
        self._wide = int(page.tilewidth) if page.is_tiled else self.width
        self._high = int(page.tilelength) if page.is_tiled else min(int(page.rowsperstrip), self.height)

    def read(self, x: int, y: int, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
        """(height, width, sample) of the stored type, and bool (height, width): what the file holds of it.

        Pixels outside the page, and parts that the file leaves out, are 0 and not held. Raises ValueError, OSError or
        what a decoder raises for damaged parts.
        """
        out = np.zeros((height, width, self.samples), self._page.dtype)
        held = np.zeros((height, width), bool)
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + width, self.width), min(y + height, self.height)
        if left >= right or top >= bottom:
            return out, held
        for row in range(top // self._high, (bottom - 1) // self._high + 1):
            for column in range(left // self._wide, (right - 1) // self._wide + 1):
                self._copy(row, column, (left, top, right, bottom), (x, y), out, held)
        return out, held

    def _copy(
        self,
        row: int,
        column: int,
        box: tuple[int, int, int, int],
        origin: tuple[int, int],
        out: np.ndarray,
        held: np.ndarray,
    ) -> None:
        left, top = max(box[0], column * self._wide), max(box[1], row * self._high)
        right, bottom = min(box[2], (column + 1) * self._wide), min(box[3], (row + 1) * self._high)
        inner = slice(top - row * self._high, bottom - row * self._high)
        across = slice(left - column * self._wide, right - column * self._wide)
        place = (slice(top - origin[1], bottom - origin[1]), slice(left - origin[0], right - origin[0]))
        for plane in range(self.samples if self._separate else 1):
            part = self._part(plane, row, column, inner)
            if part is None:
                return
            if self._separate:
                out[(*place, plane)] = part[:, across, 0]
            else:
                out[place] = part[:, across]
        held[place] = True

    def _part(self, plane: int, row: int, column: int, rows: slice) -> np.ndarray | None:
        """`rows` of one tile or strip, (row, column, sample); None where the file leaves it out."""
        page = self._page
        columns, lines = -(-self.width // self._wide), -(-self.height // self._high)
        index = (plane * lines + row) * columns + column
        offset, count = int(page.dataoffsets[index]), int(page.databytecounts[index])
        if not offset or not count:
            return None
        samples = 1 if self._separate else self.samples
        high = self._high if page.is_tiled else min(self._high, self.height - row * self._high)
        if int(page.compression) == _NONE:
            return self._raw(offset, count, rows, samples)
        data = self._bytes(offset, count)
        return self._decoded(data, index, high, samples)[rows]

    def _bytes(self, offset: int, count: int) -> bytes:
        if count > _LARGEST_PART:
            raise ValueError("a part of more than 1 GiB")
        data = os.pread(self._descriptor, count, offset)
        if len(data) < count:
            raise ValueError("cut short")
        return data

    def _raw(self, offset: int, count: int, rows: slice, samples: int) -> np.ndarray:
        """Of an uncompressed part only the rows that are asked for are read: a whole slide may be one strip."""
        line = self._wide * samples * self._page.dtype.itemsize
        if rows.stop * line > count:
            raise ValueError("cut short")
        data = self._bytes(offset + rows.start * line, (rows.stop - rows.start) * line)
        stored = np.frombuffer(data, self._page.dtype.newbyteorder(self._order))
        if int(self._page.fillorder) != 1:
            raise ValueError("bits in reverse order")
        return stored.reshape(rows.stop - rows.start, self._wide, samples).astype(self._page.dtype)

    def _decoded(self, data: bytes, index: int, high: int, samples: int) -> np.ndarray:
        compression = int(self._page.compression)
        if compression in _BY_TIFFFILE:
            found, _, _ = self._page.decode(data, index)
            whole = None if found is None else found.reshape(-1, *found.shape[-2:])
        elif compression == _LZW:
            whole = _by_opencv(self._as_file(data, high, samples), samples)
        else:
            whole = _by_opencv(data if compression in _JPEG2000 else self._whole_jpeg(data), samples)
        if whole is None or whole.shape[0] < high or whole.shape[1] != self._wide or whole.shape[2] != samples:
            raise ValueError("a part that does not decode")
        return whole

    def _whole_jpeg(self, data: bytes) -> bytes:
        """A JPEG stream with the tables that TIFF keeps apart, and a word on its colours where decoders would guess."""
        tables = self._page.jpegtables or b""
        start = tables[:-2] + data[2:] if tables else data
        stated = int(self._page.photometric) == _RGB and self.samples == 3 and not self._separate
        return start[:2] + _ADOBE_RGB + start[2:] if stated and b"Adobe" not in start[:1024] else start

    def _as_file(self, data: bytes, high: int, samples: int) -> bytes:
        """One compressed part as a TIFF file of its own (TIFF 6.0 §2)."""
        bits = 8 * self._page.dtype.itemsize
        order = self._order
        tags = [
            *((256, 4, 1, self._wide), (257, 4, 1, high), (259, 3, 1, int(self._page.compression))),
            *((262, 3, 1, _RGB if samples == 3 else 1), (277, 3, 1, samples), (278, 4, 1, high)),
            *((279, 4, 1, len(data)), (284, 3, 1, 1), (317, 3, 1, int(self._page.predictor))),
        ]
        body = 8 + 2 + 12 * (len(tags) + 2) + 4
        tags += [(258, 3, samples, bits if samples == 1 else body), (273, 4, 1, body + 2 * samples)]
        file = bytearray(b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
        for tag, kind, number, value in sorted(tags):
            short = kind == 3 and number == 1
            file += struct.pack(f"{order}HHI", tag, kind, number)
            file += struct.pack(f"{order}HH", value, 0) if short else struct.pack(f"{order}I", value)
        file += struct.pack(f"{order}I", 0) + struct.pack(f"{order}{samples}H", *[bits] * samples)
        return bytes(file) + data


def _by_opencv(data: bytes, samples: int) -> np.ndarray | None:
    """(row, column, sample) in the order stored; None where it does not decode."""
    cv2 = silent_opencv()
    try:
        found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if found is None:
        return None
    if found.ndim == 2:
        return found[:, :, None]
    return found[:, :, ::-1] if samples == 3 else found
