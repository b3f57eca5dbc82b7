"""A file → an open slide, whatever its format."""

from __future__ import annotations

from pathlib import Path

from advassay.sources.read_failures import Unreadable
from advassay.sources.slides.slide import TIFF_SIGNATURES, Slide, regular_file


def open_slide(path: Path, folder: Path, channel: str | int | None = None) -> Slide | Unreadable:
    """Open a slide (OpenSlide's formats, DICOM among them, OME-TIFF, QPTIFF) or an image (PNG, JPEG, TIFF) in `folder`.

    By content, not by name. `channel`: of a fluorescence file with several. A file that cannot be opened is an
    `Unreadable`, never an exception.
    """
    from advassay.sources.slides.slide_readers import is_scanners_own, open_image, open_scanned
    from advassay.sources.slides.tiff_slide import open_tiff

    real = regular_file(path, folder)
    if isinstance(real, Unreadable):
        return real
    with real.open("rb") as file:
        is_tiff = file.read(4) in TIFF_SIGNATURES
    own = is_scanners_own(real)
    tiff = open_tiff(real, channel, plain=False) if is_tiff and not own else None
    found = tiff or open_scanned(real) or (open_tiff(real, channel, plain=True) if is_tiff and not own else None)
    return found or open_image(real, folder.resolve())
