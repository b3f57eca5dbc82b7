"""What an image file says about itself, read from its first bytes before any decoder sees it.

A decoder allocates what the header declares, so a 100-byte file can ask for terabytes; and it converts silently
what we must not convert (CMYK, several pages). Sources: PNG (ISO/IEC 15948 §5, §11.2.2), JPEG (ITU-T T.81 B.2),
TIFF 6.0 (§2, §8).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

from advassay.sources.unreadable import MAX_PIXELS, Unreadable

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
