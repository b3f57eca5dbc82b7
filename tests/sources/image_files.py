"""Image files of every make, built byte by byte or by Pillow, for the tests of this room."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image


def noise(*shape: int, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    """Random pixels that use the whole range of `dtype`."""
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def by_pillow(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def by_opencv(pixels: np.ndarray, ending: str = ".png") -> bytes:
    """Encode (h, w), (h, w, 3) RGB or (h, w, 4) RGBA pixels at their own depth."""
    order = {2: lambda p: p, 3: lambda p: p[:, :, ::-1], 4: lambda p: p[:, :, [2, 1, 0, 3]]}
    stored = order[2 if pixels.ndim == 2 else pixels.shape[2]](pixels)
    return cv2.imencode(ending, np.ascontiguousarray(stored))[1].tobytes()


def png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    """A PNG that declares what it is told, whatever its data say."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(
    pixels: np.ndarray, *, photometric: int = 1, sample_format: int = 1, order: str = "<", following: int = 0
) -> bytes:
    """A one-strip TIFF. `following` is the offset of the next page (-1: this one again)."""
    body = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    height, width = pixels.shape[:2]
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]
    bits = 8 * pixels.dtype.itemsize
    long, short = 4, 3
    tags = [(256, long, width), (257, long, height), (258, short, bits), (259, short, 1), (262, short, photometric)]
    tags += [(273, long, 8), (277, short, samples), (278, long, height), (279, long, len(body))]
    tags += [(339, short, sample_format)]
    offset = 8 + len(body)
    directory = struct.pack(order + "H", len(tags))
    for tag, kind, value in tags:
        stored = struct.pack(order + "HH", value, 0) if kind == short else struct.pack(order + "I", value)
        directory += struct.pack(order + "HHI", tag, kind, 1) + stored
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", offset)
    return head + body + directory + struct.pack(order + "I", offset if following < 0 else following)


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
