"""Untrusted bytes → what the file's header declares → pixels as stored, or a reason.

The only file that calls an image decoder; the header is read before any decoder sees the bytes.
"""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np

from advassay.optional_libraries import optional_imports
from advassay.sources.read_failures import MAX_FILE_BYTES, MAX_PIXELS, Unreadable

Format = Literal["PNG", "JPEG", "TIFF"]


@dataclass(frozen=True)
class Header:
    """Declared facts. `samples` counts values per pixel as stored (palette: 1)."""

    format: Format
    width: int
    height: int
    bits: int
    """Per sample, as stored: 1, 2, 4, 8 or 16."""
    samples: int
    white_is_zero: bool = False
    """TIFF PhotometricInterpretation 0: the largest stored value is black."""


def read_header(data: bytes) -> Header | Unreadable:
    """Header of a PNG, JPEG or TIFF file whose pixels we can decode faithfully, or why not.

    >>> read_header(b"hello, this is text")
    Unreadable(reason='not an image', detail='no PNG, JPEG or TIFF signature')
    """
    try:
        header = _by_signature(data)
    except (struct.error, IndexError):
        return Unreadable("damaged", "the header is cut short")
    if isinstance(header, Header) and header.width * header.height > MAX_PIXELS:
        return Unreadable("too large", f"declares {header.width} × {header.height} pixels, at most {MAX_PIXELS:,}")
    if isinstance(header, Header) and 0 in (header.width, header.height):
        return Unreadable("damaged", f"declares {header.width} × {header.height} pixels")
    return header


def _by_signature(data: bytes) -> Header | Unreadable:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data[:4] in (b"II*\0", b"MM\0*"):
        return _tiff(data)
    return Unreadable("not an image", "no PNG, JPEG or TIFF signature")


_PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # colour type → samples per pixel


def _png(data: bytes) -> Header | Unreadable:
    name, width, height, bits, colour = struct.unpack_from(">4sIIBB", data, 12)
    if name != b"IHDR" or colour not in _PNG_SAMPLES:
        return Unreadable("damaged", "no valid PNG header")
    if data.find(b"IEND", 33) < 0:
        return Unreadable("damaged", f"a PNG of {width} × {height} pixels without its end: cut short")
    return Header("PNG", width, height, bits, _PNG_SAMPLES[colour])


_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF markers; C4, C8 and CC are no frames
_JPEG_BARE = frozenset({0x01, 0xFF, *range(0xD0, 0xD9)})  # markers (and fill bytes) without a length
_MAX_MARKERS = 10_000  # a file made of fill bytes must not keep us busy


def _jpeg(data: bytes) -> Header | Unreadable:
    position = 2
    for _ in range(_MAX_MARKERS):
        if data[position] != 0xFF:
            break
        marker = data[position + 1]
        if marker in _JPEG_FRAMES:
            return _jpeg_frame(data, position)
        step = 0 if marker in _JPEG_BARE else struct.unpack_from(">H", data, position + 2)[0]
        position += (1 if marker == 0xFF else 2) + step
    return Unreadable("damaged", "a JPEG without a frame header")


def _jpeg_frame(data: bytes, position: int) -> Header | Unreadable:
    bits, height, width, samples = struct.unpack_from(">BHHB", data, position + 4)
    if bits != 8 or samples not in (1, 3):
        return Unreadable("unsupported pixels", f"a JPEG of {bits} bits and {samples} components; 8 bits and 1 or 3")
    if data.find(b"\xff\xd9", position) < 0:  # entropy-coded data never contains this marker
        return Unreadable("damaged", f"a JPEG of {width} × {height} pixels without its end: cut short")
    return Header("JPEG", width, height, bits, samples)


_SUBFILE, _WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _FORMAT = 254, 256, 257, 258, 262, 277, 339
_TIFF_TYPES = {1: "B", 3: "H", 4: "I"}  # BYTE, SHORT, LONG: all the tags above
_MAX_TAGS, _MAX_PAGES = 4096, 64


def _tiff(data: bytes) -> Header | Unreadable:
    order = "<" if data[:2] == b"II" else ">"
    (offset,) = struct.unpack_from(order + "I", data, 4)
    pages: list[dict[int, tuple[int, ...]]] = []
    seen = 0
    while offset and seen < _MAX_PAGES:
        tags, offset = _tiff_directory(data, offset, order)
        seen += 1
        if not tags.get(_SUBFILE, (0,))[0] & 0b101:  # reduced-resolution copies and masks are not pages
            pages.append(tags)
    if len(pages) != 1:
        return Unreadable("unsupported pixels", f"a TIFF of {len(pages)} pages; save the one that is meant")
    return _tiff_page(pages[0])


def _tiff_directory(data: bytes, offset: int, order: str) -> tuple[dict[int, tuple[int, ...]], int]:
    (count,) = struct.unpack_from(order + "H", data, offset)
    tags = {}
    for entry in range(offset + 2, offset + 2 + 12 * min(count, _MAX_TAGS), 12):
        tag, kind, number = struct.unpack_from(order + "HHI", data, entry)
        if kind in _TIFF_TYPES and 1 <= number <= 8:
            layout = f"{order}{number}{_TIFF_TYPES[kind]}"
            inline = struct.calcsize(layout) <= 4
            where = entry + 8 if inline else struct.unpack_from(order + "I", data, entry + 8)[0]
            tags[tag] = struct.unpack_from(layout, data, where)
    return tags, struct.unpack_from(order + "I", data, offset + 2 + 12 * count)[0]


def _tiff_page(tags: dict[int, tuple[int, ...]]) -> Header | Unreadable:
    if _WIDTH not in tags or _HEIGHT not in tags:
        return Unreadable("damaged", "a TIFF without width or height")
    bits, samples = tags.get(_BITS, (1,)), tags.get(_SAMPLES, (1,))[0]
    photometric = tags.get(_PHOTOMETRIC, (1 if samples == 1 else 2,))[0]
    if set(tags.get(_FORMAT, (1,))) != {1} or bits[0] not in (1, 2, 4, 8, 16) or len(set(bits)) != 1:
        return Unreadable("unsupported pixels", f"a TIFF of {bits[0]}-bit samples that are not whole numbers 0 … 65535")
    if (photometric, samples) not in {(0, 1), (1, 1), (2, 3), (2, 4), (3, 1), (6, 3)}:
        return Unreadable("unsupported pixels", f"a TIFF of colour space {photometric} with {samples} samples")
    return Header("TIFF", tags[_WIDTH][0], tags[_HEIGHT][0], bits[0], samples, white_is_zero=photometric == 0)


@cache
def silent_opencv() -> ModuleType:
    """OpenCV, imported when first used, so that study files are read without it.

    A bad file becomes a row with a reason; OpenCV's own lines about it would only tear the progress bar.
    Raises MissingLibraryError where it is not installed.
    """
    with optional_imports():
        import cv2
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


def read_image(path: Path, folder: Path) -> np.ndarray | Unreadable:
    """Decode the file at `path`, which must lie in `folder` (itself resolved) once symbolic links are resolved.

    Returns what `decode` returns; never raises for a bad file.
    """
    try:
        real = path.resolve(strict=True)
        if not real.is_relative_to(folder):
            return Unreadable("outside the folder", "the path leaves the source's folder")
        data = _read_regular(real)
    except (FileNotFoundError, NotADirectoryError):
        return Unreadable("missing", "no such file")
    except PermissionError:
        return Unreadable("no permission", "the file may not be read")
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name no file can have, a broken disk
        return Unreadable("missing", type(error).__name__)
    return data if isinstance(data, Unreadable) else decode(data)


def _read_regular(path: Path) -> bytes | Unreadable:
    # Asking first keeps a pipe from blocking; the size is what is read, whatever the file becomes meanwhile.
    facts = os.stat(path)
    if not stat.S_ISREG(facts.st_mode):
        return Unreadable("not a file", "a directory, pipe or device")
    if facts.st_size == 0:
        return Unreadable("empty file", "0 bytes")
    if facts.st_size > MAX_FILE_BYTES:
        return Unreadable("too large", f"{facts.st_size:,} bytes, at most {MAX_FILE_BYTES:,}")
    with path.open("rb") as file:
        return file.read(facts.st_size)


def decode(data: bytes) -> np.ndarray | Unreadable:
    """Pixels of a PNG, JPEG or TIFF file: uint8 or uint16, (height, width) grey or (height, width, 3) RGB.

    Stored depth is kept (16-bit RGB included). 1-, 2- and 4-bit samples fill 0 … 255; palettes become their
    colours. Three equal channels are grey and become one; JPEG chroma noise keeps three. An alpha channel is
    dropped where it is fully opaque; otherwise the image is refused, since any background would be our invention.
    Pixels are taken as stored: EXIF orientation, gamma and colour profiles are not applied.
    """
    header = read_header(data)
    if isinstance(header, Unreadable):
        return header
    cv2 = silent_opencv()
    try:
        stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        stored = None
    if stored is None or stored.shape[:2] != (header.height, header.width):
        return Unreadable("damaged", f"a {header.format} of {header.width} × {header.height} pixels does not decode")
    if stored.dtype not in (np.uint8, np.uint16):
        return Unreadable("unsupported pixels", f"decoded as {stored.dtype}")
    return _as_grey_or_rgb(_black_is_zero(stored, header))


def _black_is_zero(stored: np.ndarray, header: Header) -> np.ndarray:
    # OpenCV turns 8-bit WhiteIsZero around, but hands 16-bit samples over as they are.
    if header.white_is_zero and header.bits == 16:
        return np.iinfo(stored.dtype).max - stored
    return stored


def _as_grey_or_rgb(stored: np.ndarray) -> np.ndarray | Unreadable:
    if stored.ndim == 3 and stored.shape[2] == 4:
        alpha = stored[:, :, 3]
        if alpha.min() != np.iinfo(stored.dtype).max:
            return Unreadable("transparent", f"opacity falls to {alpha.min() / np.iinfo(stored.dtype).max:.2f}")
        stored = stored[:, :, :3]
    if stored.ndim == 3 and stored.shape[2] == 1:
        stored = stored[:, :, 0]
    return one_channel_if_grey(stored if stored.ndim == 2 else stored[:, :, ::-1])


def one_channel_if_grey(pixels: np.ndarray) -> np.ndarray:
    """(height, width, 3) with three equal channels → (height, width); anything else comes back as it is.

    >>> one_channel_if_grey(np.zeros((4, 5, 3), np.uint8)).shape
    (4, 5)
    """
    if pixels.ndim == 3:
        red, green, blue = pixels[:, :, 0], pixels[:, :, 1], pixels[:, :, 2]
        if np.array_equal(red, green) and np.array_equal(green, blue):
            pixels = red
    return np.ascontiguousarray(pixels)


NEARLY_GREY = 0.04
"""Largest difference of a pixel's channels, as a share of the range, that is noise: 10 of 255 grey levels."""
_COLOURED_SHARE = 0.01
_LOOKED_AT = 512


def is_coloured(pixels: np.ndarray) -> bool:
    """Whether an image shows colour: channels that differ by more than noise in more than 1 % of its pixels.

    uint8 or uint16, (height, width) or (height, width, 3). Grey films scanned or saved as JPEG in colour have channels
    that differ by a few levels, or by noise that averages out over 5 × 5 pixels: they are grey. A tinted film is
    coloured. Of a large image every n-th pixel is looked at.

    >>> noisy = np.full((8, 8, 3), 100, np.uint8); noisy[::2, ::2, 0] = 116
    >>> is_coloured(noisy), is_coloured(np.full((8, 8, 3), (90, 100, 120), np.uint8))
    (False, True)
    """
    if pixels.ndim == 2:
        return False
    step = [max(1, -(-side // _LOOKED_AT)) for side in pixels.shape[:2]]
    cv2 = silent_opencv()
    seen = cv2.blur(np.ascontiguousarray(pixels[:: step[0], :: step[1]]), (5, 5), borderType=cv2.BORDER_REPLICATE)
    spread = seen.max(axis=2) - seen.min(axis=2)
    return float((spread > NEARLY_GREY * np.iinfo(pixels.dtype).max).mean()) > _COLOURED_SHARE
