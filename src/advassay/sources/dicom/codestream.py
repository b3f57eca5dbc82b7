"""What a compressed stream says of its own samples: depth, sign, number of components, size.

A header and its stream are written by different programs and need not agree (PS3.5 §8.2 says they shall).
"""

from __future__ import annotations

import struct
from typing import NamedTuple


class StreamFacts(NamedTuple):
    """The samples of one frame as its stream declares them."""

    bits: int
    """Precision of a sample."""
    signed: bool | None
    """None where the format cannot say: JPEG and JPEG-LS hold unsigned patterns."""
    components: int
    rows: int
    columns: int


_J2K_START = b"\xff\x4f\xff\x51"  # SOC and SIZ, ISO/IEC 15444-1 §A.4.1, §A.5.1; also inside a JP2 file
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}  # SOF of ITU-T T.81 §B.1.1.3, of JPEG-LS T.87 §C.1
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_MOST_MARKERS = 10_000


def read_codestream(frame: bytes) -> StreamFacts | None:
    """What a JPEG, JPEG-LS or JPEG 2000 frame declares; None where it has no header of these."""
    try:
        start = frame.find(_J2K_START, 0, 4096)
        return _jpeg2000(frame, start) if start >= 0 else _jpeg(frame)
    except (struct.error, IndexError):
        return None


def _jpeg2000(frame: bytes, start: int) -> StreamFacts:
    """The SIZ marker segment: reference grid and offset, then one depth byte a component (bit 7: signed)."""
    right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
    components, depth = struct.unpack_from(">HB", frame, start + 40)
    return StreamFacts((depth & 0x7F) + 1, bool(depth & 0x80), components, bottom - top, right - left)


def _jpeg(frame: bytes) -> StreamFacts | None:
    """The frame header behind the first SOF marker."""
    if frame[:2] != b"\xff\xd8":
        return None
    place = 2
    for _ in range(_MOST_MARKERS):
        if frame[place] != 0xFF:
            return None
        marker = frame[place + 1]
        if marker in _FRAMES:
            bits, rows, columns, components = struct.unpack_from(">BHHB", frame, place + 4)
            return StreamFacts(bits, None, components, rows, columns)
        if marker == 0xFF:  # a fill byte
            place += 1
        else:
            place += 2 if marker in _BARE else 2 + struct.unpack_from(">H", frame, place + 2)[0]
    return None
