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
    "not DICOM",  # among DICOM files: no such file by its first bytes
    "DICOMDIR",  # the directory of a medium, no image
    "zip archive",  # files packed into one: to be unpacked first
    "packed archive",  # the same, of another format
    "out of time",  # the decoder did not end; it was stopped
    "decoder crashed",  # the decoder's process died
    "too small",
    "wrong aspect",
    "almost constant",
    "clipped",
    "two-level",  # nearly all pixels black or white
    "unsupported slide",  # a slide's format that OpenSlide knows, in a form it does not read
    "several channels",  # a fluorescence slide of which no channel is named
    "no such channel",
    "not scanned",  # a tile that reaches beyond what the scanner covered
    "blurred",  # a tile less sharp than its source's rule asks for
]

UNUSABLE = frozenset({"too small", "wrong aspect", "almost constant", "clipped", "two-level"})
"""Reasons that technical rules gave: the image could be read, a radiologist would not use it."""

MAX_FILE_BYTES = 1 << 29
"""512 MiB: an uncompressed 16-bit RGB image of MAX_PIXELS fits."""
MAX_PIXELS = 64_000_000
"""Declared height × width at most: 8,000 × 8,000, three times a mammogram. Beyond lie bombs and slides."""


@dataclass(frozen=True)
class Unreadable:
    """One image that could not be read. `detail` holds sizes and formats, never a path, an id or pixels."""

    reason: Reason
    detail: str = ""

    @property
    def named(self) -> str:
        """The reason as counts show it.

        >>> Unreadable("damaged").named, Unreadable("clipped").named
        ('unreadable: damaged', 'unusable: clipped')
        """
        return f"{'unusable' if self.reason in UNUSABLE else 'unreadable'}: {self.reason}"
