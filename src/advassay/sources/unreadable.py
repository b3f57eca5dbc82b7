"""What a read gives when there is no image: a reason from a small fixed vocabulary, never an exception."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Reason = Literal[
    "missing",  # no file under this name
    "outside the folder",  # the path, symbolic links resolved, leaves the source's folder
    "not a file",  # a directory, a pipe, a device
    "no permission",
    "empty file",
    "too large",  # more bytes or more declared pixels than the caps below
    "not an image",  # no PNG, JPEG or TIFF signature
    "damaged",  # cut short or corrupt
    "unsupported pixels",  # float, signed, 32-bit, CMYK, several pages
    "transparent",  # an alpha channel that is not fully opaque
]

MAX_FILE_BYTES = 1 << 29
"""512 MiB: an uncompressed 16-bit RGB image of MAX_PIXELS fits."""
MAX_PIXELS = 64_000_000
"""Declared height × width at most: 8,000 × 8,000, three times a mammogram. Beyond lie bombs and slides."""


@dataclass(frozen=True)
class Unreadable:
    """One image that could not be read. `detail` holds sizes and formats, never a path, an id or pixels."""

    reason: Reason
    detail: str = ""
