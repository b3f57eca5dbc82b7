"""What archives hold besides good files: the bytes of a file that something has happened to."""

from __future__ import annotations

import numpy as np

NOT_DICOM = b"Viewer settings\nwindow = auto\n" * 20


def damaged(data: bytes, fate: str, image: int) -> bytes:
    """The bytes of a whole file after its fate; fates that are in the tags or the pixels change nothing here."""
    if fate == "empty file":
        return b""
    if fate == "not DICOM":
        return NOT_DICOM
    if fate == "truncated":
        return data[: int(len(data) * 0.6)]
    if fate == "cut short":
        return data[:200]
    if fate == "undecodable":
        return _with_noise(data, image)
    return data


def _with_noise(data: bytes, image: int) -> bytes:
    """The JPEG 2000 code stream (FF 4F FF 51 …, ISO/IEC 15444-1, A.4) overwritten, its length kept."""
    start = data.index(b"\xff\x4f\xff\x51")
    noise = np.random.default_rng(image).integers(0, 255, len(data) - start - 8, np.uint8).tobytes()
    return data[:start] + noise + data[-8:]
