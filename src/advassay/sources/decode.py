"""Untrusted bytes → pixels as stored, or a reason. The only file that calls an image decoder."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import cv2
import numpy as np

from advassay.sources.header import Header, read_header
from advassay.sources.unreadable import MAX_FILE_BYTES, Unreadable

# A bad file becomes a row with a reason; OpenCV's own lines about it would only tear the progress bar.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


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
    seen = cv2.blur(np.ascontiguousarray(pixels[:: step[0], :: step[1]]), (5, 5), borderType=cv2.BORDER_REPLICATE)
    spread = seen.max(axis=2) - seen.min(axis=2)
    return float((spread > NEARLY_GREY * np.iinfo(pixels.dtype).max).mean()) > _COLOURED_SHARE
