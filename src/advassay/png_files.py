"""PNG without an image library: grey and RGB images of 8 or 16 bits, as the gallery and the page hold them.

Written with filter Sub in every row. Read with all five filters (PNG third edition §9.2); not read: palettes,
transparency and interlacing, which nothing here writes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB = 0, 2
_LARGEST = 2**28
"""Bytes of pixels that are read at most."""


def encode_png(pixels: np.ndarray) -> bytes:
    """A PNG of uint8 or uint16 pixels, (height, width) grey or (height, width, 3) RGB.

    Raises ValueError for other shapes and dtypes.
    """
    grey = pixels.ndim == 2
    if pixels.dtype not in (np.uint8, np.uint16) or not (grey or pixels.shape[2:] == (3,)) or not pixels.size:
        raise ValueError(f"PNG: expected uint8 or uint16, grey or RGB, got {pixels.shape} {pixels.dtype}.")
    height, width = pixels.shape[:2]
    bits = 8 * pixels.dtype.itemsize
    rows = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(">")).view(np.uint8).reshape(height, width, -1)
    left = np.pad(rows, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    filtered = np.ones((height, 1 + width * rows.shape[2]), np.uint8)  # a row begins with its filter: 1 is Sub
    filtered[:, 1:] = (rows - left).reshape(height, -1)
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes((bits, _GREY if grey else _RGB, 0, 0, 0))
    body = zlib.compress(filtered.tobytes(), 3)
    return SIGNATURE + b"".join(_chunk(*part) for part in ((b"IHDR", header), (b"IDAT", body), (b"IEND", b"")))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def decode_png(data: bytes) -> np.ndarray:
    """The pixels of a PNG: uint8 or uint16, (height, width) grey or (height, width, 3) RGB.

    Raises ValueError for what is damaged, incomplete or of another kind.
    """
    chunks = list(_chunks(data))
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13 or chunks[-1][0] != b"IEND":
        raise ValueError("PNG: damaged or cut off")
    header = chunks[0][1]
    width, height = (int.from_bytes(header[at : at + 4], "big") for at in (0, 4))
    bits, colour = header[8:10]
    if bits not in (8, 16) or colour not in (_GREY, _RGB) or any(header[10:]) or not width or not height:
        raise ValueError(f"PNG: expected grey or RGB of 8 or 16 bits, got {bits} bits and colour type {colour}")
    step = (bits // 8) * (1 if colour == _GREY else 3)
    length = height * (1 + width * step)
    if length > _LARGEST:
        raise ValueError(f"PNG: expected at most {_LARGEST} bytes of pixels, got {length}")
    try:
        unpacked = zlib.decompressobj()
        filtered = unpacked.decompress(b"".join(part for kind, part in chunks if kind == b"IDAT"), length + 1)
    except zlib.error as error:
        raise ValueError(f"PNG: {error}") from None
    if len(filtered) != length:
        raise ValueError(f"PNG: expected {length} bytes of pixels, got {len(filtered)}")
    rows = np.frombuffer(filtered, np.uint8).reshape(height, -1)
    plain = _unfiltered(rows[:, 0], rows[:, 1:].reshape(height, width, step))
    pixels = plain.reshape(height, -1).view(np.uint8 if bits == 8 else ">u2")
    shaped = pixels.reshape((height, width) if colour == _GREY else (height, width, 3))
    return shaped.astype(shaped.dtype.newbyteorder("="), copy=False)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, content) of each chunk whose checksum holds; ends at the first that does not."""
    at = len(SIGNATURE)
    while data[: len(SIGNATURE)] == SIGNATURE and at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if int.from_bytes(data[end : end + 4], "big") != zlib.crc32(data[at + 4 : end]):
            return
        yield data[at + 4 : at + 8], data[at + 8 : end]
        at = end + 4


def _unfiltered(filters: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """uint8 (height, width, bytes of a pixel) with each row's filter undone."""
    plain = np.empty_like(rows)
    above = np.zeros_like(rows[0])
    for place, (kind, row) in enumerate(zip(filters, rows, strict=True)):
        if kind == 0:
            plain[place] = row
        elif kind == 1:
            plain[place] = np.cumsum(row, axis=0, dtype=np.uint8)
        elif kind == 2:
            plain[place] = row + above
        elif kind in (3, 4):
            plain[place] = _by_pixel(row, above, paeth=kind == 4)
        else:
            raise ValueError(f"PNG: expected a filter from 0 to 4, got {kind}")
        above = plain[place]
    return plain


def _by_pixel(row: np.ndarray, above: np.ndarray, *, paeth: bool) -> np.ndarray:
    """A row filtered by Average or Paeth: each byte needs the one to its left."""
    width, step = row.shape
    filtered, upper = row.ravel().tolist(), above.ravel().tolist()
    plain = [0] * len(filtered)
    for at, value in enumerate(filtered):
        left, up, corner = (plain[at - step], upper[at], upper[at - step]) if at >= step else (0, upper[at], 0)
        guess = (left + up) // 2
        if paeth:
            sum_ = left + up - corner
            guess = min((left, up, corner), key=lambda one: abs(sum_ - one))  # the first of equals, as §9.4 asks
        plain[at] = (value + guess) & 0xFF
    return np.array(plain, np.uint8).reshape(width, step)
