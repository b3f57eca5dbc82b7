"""TIFF slides that OpenSlide does not read, or reads in part: OME-TIFF, QPTIFF, channel-planar and 16-bit pyramids.

OME-TIFF: https://docs.openmicroscopy.org/ome-model/latest/ome-tiff/specification.html (levels are SubIFDs, µm per pixel
and names of channels are in the OME-XML of the first page). QPTIFF: a TIFF of one page a channel, each followed by its
smaller levels.
"""

from __future__ import annotations

import html
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from advassay.sources.read_failures import MAX_PIXELS, Unreadable
from advassay.sources.slides.slide import UNEQUAL_MPP, Region, Slide, used_white
from advassay.sources.slides.slide_readers import COARSEST_TIFF_MPP
from advassay.sources.slides.tiff_parts import PageReader, unreadable_because

# What tifffile has to say about a broken file it logs, with the file's name; here it becomes a reason without one.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)

_AXES = ("YX", "YXS", "SYX", "CYX")
_COLOUR_SPACES = (2, 6)
"""PhotometricInterpretation of colour images: RGB and YCbCr (TIFF 6.0 §8)."""
_COLOURS = ("red", "green", "blue")
_UM = {
    **{"µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "pm": 1e-6, "å": 1e-4, "nm": 1e-3, "mm": 1e3, "cm": 1e4},
    **{"dm": 1e5, "m": 1e6, "thou": 25.4, "in": 25400.0},
}
"""Unit of a length (UnitsLength of the OME-XML schema) → µm; pixel and reference frame are none."""
_PIXELS = re.compile(r"<(?:\w+:)?Pixels\b([^>]*)>(.*?)(?=<(?:\w+:)?Pixels\b|$)", re.DOTALL)
_CHANNEL = re.compile(r"<(?:\w+:)?Channel\b([^>]*)>")
_QPI_NAME = re.compile(r"<Name>([^<]{1,80})</Name>")
_MOST_LEVELS, _MOST_CHANNELS = 32, 128
_MOST_TEXT = 1 << 24
_SHOWN = 8


class TiffSlide(Slide):
    """Regions are read part by part; several threads may read. What is transparent counts as not scanned.

    white: of 16-bit files the value that counts as full brightness, by the bits that are used.
    """

    def __init__(
        self,
        file: tifffile.TiffFile,
        levels: list[list[PageReader]],
        format: str,
        mpp: float | None,
        sample: int | None,
    ) -> None:
        """`sample`: which one of a page's samples is read; None = all, as one image."""
        self._file, self._levels, self._sample = file, levels, sample
        self.format, self.mpp = format, mpp
        self.sizes = tuple((pages[0].width, pages[0].height) for pages in levels)
        width, height = self.sizes[0]
        self.downsamples = tuple((width / wide + height / high) / 2 for wide, high in self.sizes)
        self.bounds = (0, 0, width, height)
        self.white = self._used_white()

    def region(self, x: int, y: int, level: int, width: int, height: int) -> Region | None:
        times = self.downsamples[level]
        left, top = round(x / times), round(y / times)
        try:
            read = [page.read(left, top, width, height) for page in self._levels[level]]
        except Exception:  # decoders raise whatever damaged bytes make them stumble over
            return None
        pixels = np.concatenate([found for found, _ in read], axis=2)
        held = np.logical_and.reduce([known for _, known in read])
        if self._sample is not None:
            pixels = pixels[:, :, self._sample : self._sample + 1]
        if pixels.shape[2] == 4:
            held &= pixels[:, :, 3] > 0
            pixels = pixels[:, :, :3]
        scanned = float(held.mean()) if held.size else 0.0
        if scanned < 1.0 and pixels.shape[2] == 3:
            pixels = np.where(held[:, :, None], pixels, np.iinfo(pixels.dtype).max)
        return Region(np.ascontiguousarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0]), scanned)

    def _used_white(self) -> int | None:
        """Largest value that the bits in use hold, seen on the coarsest level; None for 8 bits."""
        last = len(self.sizes) - 1
        width, height = self.sizes[last]
        if width * height > MAX_PIXELS:
            width = height = 4096
        region = self.region(0, 0, last, min(width, 4096), min(height, 4096))
        return None if region is None else used_white(region.pixels)

    def close(self) -> None:
        self._file.close()


def open_tiff(path: Path, channel: str | int | None = None, *, plain: bool) -> TiffSlide | Unreadable | None:
    """Open an OME-TIFF, a QPTIFF, or a TIFF stored in planes; None for what is none of these.

    `plain`: also a TIFF that has levels or is too large to be decoded whole, after OpenSlide did not take it.
    `channel`: name or number (from 0) of the channel of a fluorescence file. Only this file is read, whatever others
    an OME-TIFF names.
    """
    try:
        file = tifffile.TiffFile(path, _multifile=False)
    except Exception:  # tifffile raises whatever a broken file makes it stumble over
        return None
    try:
        opened = _opened(file, channel, plain)
    except Exception as error:
        opened = Unreadable("unsupported slide", f"a TIFF that cannot be understood ({type(error).__name__})")
    if not isinstance(opened, TiffSlide):
        file.close()
    return opened


def _opened(file: tifffile.TiffFile, channel: str | int | None, plain: bool) -> TiffSlide | Unreadable | None:
    format = "ome-tiff" if file.is_ome else "qptiff" if file.is_qpi else "tiff"
    series = file.series[0]
    if format == "tiff" and not _is_worth_it(file, series, plain):
        return None
    axes = "".join(axis for axis, length in zip(series.axes, series.shape, strict=True) if length > 1 or axis in "YX")
    if axes not in _AXES or "YX" not in axes:
        return Unreadable("unsupported slide", f"axes {series.axes} of lengths {series.shape}; one plane is needed")
    pages = [page.aspage() for page in series.levels[0].pages if page is not None]
    if (why := unreadable_because(pages[0])) is not None:
        return Unreadable("unsupported slide", why)
    names = _channel_names(file, format, pages)
    chosen = _chosen(names, channel)
    if isinstance(chosen, Unreadable):
        return chosen
    of_pages = chosen if len(pages) > 1 else None
    descriptor = file.filehandle.fileno()
    levels = []
    for level in series.levels[:_MOST_LEVELS]:
        found = [page.aspage() for page in level.pages if page is not None]
        found = found if of_pages is None else [found[of_pages]]
        if any(unreadable_because(page) is not None for page in found):
            break
        levels.append([PageReader(descriptor, page, file.byteorder) for page in found])
    sample = chosen if len(pages) == 1 else None
    return TiffSlide(file, levels, format, _mpp(file, format, pages[0]), sample)


def _is_worth_it(file: tifffile.TiffFile, series: Any, plain: bool) -> bool:
    """Whether a plain TIFF is read part by part: it is stored in planes, or, where `plain`, has levels or is large."""
    page: Any = file.pages[0]
    planar = int(page.planarconfig) == 2 and page.samplesperpixel > 1
    large = page.imagewidth * page.imagelength > MAX_PIXELS
    return len(file.series) == 1 and (planar or (plain and (len(series.levels) > 1 or large or file.is_bigtiff)))


def _channel_names(file: tifffile.TiffFile, format: str, pages: list[Any]) -> list[str]:
    """Names of the channels of a fluorescence image, pages or samples; empty for colour images and for one channel.

    Three 8-bit channels without names, or named red, green and blue, are a colour image.
    """
    samples = int(pages[0].samplesperpixel)
    number = len(pages) * samples
    if number == 1 or (len(pages) == 1 and samples in (3, 4) and int(pages[0].photometric) in _COLOUR_SPACES):
        return []
    names = _ome_names(file) if format == "ome-tiff" else [_qpi_name(page) for page in pages]
    names = [*names, *[""] * number][:number]
    plain = [name.lower() for name in names]
    unnamed = all(not name or re.fullmatch(r"(channel[ :]*)?[0-9:]+|c[0-9]", name) for name in plain)
    if number == 3 and pages[0].dtype == np.uint8 and (unnamed or plain == list(_COLOURS) or plain == list("rgb")):
        return []
    return [name or f"channel {place}" for place, name in enumerate(names[:_MOST_CHANNELS])]


def _chosen(names: list[str], channel: str | int | None) -> int | Unreadable | None:
    """Index of the channel asked for; None where the image has no channels to choose from."""
    if not names:
        return None
    if channel is None:
        shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
        return Unreadable("several channels", f"{len(names)} channels ({shown}); `channel` names one")
    plain = [name.casefold() for name in names]
    if str(channel).casefold() in plain:
        return plain.index(str(channel).casefold())
    if str(channel).isdecimal() and int(channel) < len(names):
        return int(channel)
    return Unreadable("no such channel", f"{channel!r} is none of {', '.join(names[:_SHOWN])}")


def _ome_pixels(file: tifffile.TiffFile) -> tuple[str, str]:
    """Attributes and content of the first Pixels element of the OME-XML; empty texts where there is none."""
    match = _PIXELS.search((file.ome_metadata or "")[:_MOST_TEXT])
    return (match[1], match[2]) if match else ("", "")


def _attribute(text: str, name: str) -> str | None:
    match = re.search(rf"""\b{name}\s*=\s*(["'])(.*?)\1""", text)
    return match[2] if match else None


def _ome_names(file: tifffile.TiffFile) -> list[str]:
    return [(_attribute(found, "Name") or "").strip()[:80] for found in _CHANNEL.findall(_ome_pixels(file)[1])]


def _qpi_name(page: Any) -> str:
    match = _QPI_NAME.search(page.description[:_MOST_TEXT])
    return match[1].strip() if match else ""


def _mpp(file: tifffile.TiffFile, format: str, page: Any) -> float | None:
    """µm per pixel: of OME-TIFF what the OME-XML says, otherwise the resolution tags (not a printer's)."""
    if format == "ome-tiff":
        attributes = _ome_pixels(file)[0]
        x, y = (_length(attributes, axis) for axis in "XY")
        x, y = x or y, y or x
    else:
        x, y = (_resolution(page, axis) for axis in "XY")
    if x is None or y is None or not (0 < x < 1e4 and 0 < y < 1e4) or abs(x - y) > UNEQUAL_MPP * max(x, y):
        return None
    return None if format == "tiff" and x > COARSEST_TIFF_MPP else (x + y) / 2


def _length(attributes: str, axis: str) -> float | None:
    unit = _UM.get(html.unescape(_attribute(attributes, f"PhysicalSize{axis}Unit") or "µm").strip().lower())
    try:
        return None if unit is None else float(_attribute(attributes, f"PhysicalSize{axis}") or "") * unit
    except ValueError:
        return None


def _resolution(page: Any, axis: str) -> float | None:
    tag, unit = page.tags.get(f"{axis}Resolution"), page.tags.get("ResolutionUnit")
    each = {2: 25400.0, 3: 1e4}.get(int(unit.value) if unit is not None else 2)
    if tag is None or each is None or not tag.value[0] or not tag.value[1]:
        return None
    return float(each * tag.value[1] / tag.value[0])
