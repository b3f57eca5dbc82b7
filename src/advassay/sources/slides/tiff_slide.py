"""TIFF slides that OpenSlide does not read, or reads in part: OME-TIFF, QPTIFF, channel-planar and 16-bit pyramids.

OME-TIFF: https://docs.openmicroscopy.org/ome-model/latest/ome-tiff/specification.html (levels are SubIFDs, µm per pixel
and names of channels are in the OME-XML of the first page). QPTIFF: a TIFF of one page a channel, each followed by its
smaller levels. TIFF 6.0 §15 (tiles), §8 (PlanarConfiguration), §22 and Technote 2 (JPEG): the tiles or strips that a
rectangle needs are read one by one. What the tifffile library decodes without further packages, it decodes; JPEG and
LZW go through OpenCV.
"""

from __future__ import annotations

import html
import logging
import os
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from advassay.sources.image_decoder import silent_opencv
from advassay.sources.read_failures import MAX_PIXELS, Unreadable
from advassay.sources.slides.slide import COARSEST_TIFF_MPP, UNEQUAL_MPP, Region, Slide, used_white

# ---- a file as a slide -----------------------------------------------------------------------------------------------

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


# ---- the tiles or strips that a rectangle needs ----------------------------------------------------------------------

_NONE, _LZW, _JPEG, _PACKBITS = 1, 5, 7, 32773
_BY_TIFFFILE = frozenset({_NONE, 8, 32946, _PACKBITS, 34925})
_JPEG2000 = frozenset({33005, 34712})
_YCBCR, _RGB = 6, 2
_ADOBE_RGB = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
"""Marker that tells a JPEG decoder that the components are RGB as they are (ITU-T T.872 §6.5.3)."""
_LARGEST_PART = 1 << 30


def unreadable_because(page: Any) -> str | None:
    """Why parts of `page` (a tifffile page) cannot be read; None where they can."""
    if page.dtype not in (np.uint8, np.uint16):
        return f"samples of type {page.dtype}"
    compression = int(page.compression)
    if compression not in _BY_TIFFFILE | _JPEG2000 | {_LZW, _JPEG}:
        return f"compression {page.compression.name}"
    if compression in _JPEG2000 | {_JPEG} and page.dtype != np.uint8:
        return f"compression {page.compression.name} with samples of type {page.dtype}"
    if compression == _LZW and int(page.predictor) not in (1, 2):
        return f"predictor {page.predictor}"
    height = page.tilelength if page.is_tiled else page.rowsperstrip
    width = page.tilewidth if page.is_tiled else page.imagewidth
    if compression != _NONE and width * min(height, page.imagelength) > MAX_PIXELS:
        return f"parts of {width} × {height} pixels"
    return None


class PageReader:
    """Reads rectangles of one page. Several threads may read."""

    def __init__(self, descriptor: int, page: Any, byte_order: str) -> None:
        self._descriptor, self._page, self._order = descriptor, page, byte_order
        self.width, self.height = int(page.imagewidth), int(page.imagelength)
        self._separate = int(page.planarconfig) == 2 and page.samplesperpixel > 1
        self.samples = int(page.samplesperpixel)
        self._wide = int(page.tilewidth) if page.is_tiled else self.width
        self._high = int(page.tilelength) if page.is_tiled else min(int(page.rowsperstrip), self.height)

    def read(self, x: int, y: int, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
        """(height, width, sample) of the stored type, and bool (height, width): what the file holds of it.

        Pixels outside the page, and parts that the file leaves out, are 0 and not held. Raises ValueError, OSError or
        what a decoder raises for damaged parts.
        """
        out = np.zeros((height, width, self.samples), self._page.dtype)
        held = np.zeros((height, width), bool)
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + width, self.width), min(y + height, self.height)
        if left >= right or top >= bottom:
            return out, held
        for row in range(top // self._high, (bottom - 1) // self._high + 1):
            for column in range(left // self._wide, (right - 1) // self._wide + 1):
                self._copy(row, column, (left, top, right, bottom), (x, y), out, held)
        return out, held

    def _copy(
        self,
        row: int,
        column: int,
        box: tuple[int, int, int, int],
        origin: tuple[int, int],
        out: np.ndarray,
        held: np.ndarray,
    ) -> None:
        left, top = max(box[0], column * self._wide), max(box[1], row * self._high)
        right, bottom = min(box[2], (column + 1) * self._wide), min(box[3], (row + 1) * self._high)
        inner = slice(top - row * self._high, bottom - row * self._high)
        across = slice(left - column * self._wide, right - column * self._wide)
        place = (slice(top - origin[1], bottom - origin[1]), slice(left - origin[0], right - origin[0]))
        for plane in range(self.samples if self._separate else 1):
            part = self._part(plane, row, column, inner)
            if part is None:
                return
            if self._separate:
                out[(*place, plane)] = part[:, across, 0]
            else:
                out[place] = part[:, across]
        held[place] = True

    def _part(self, plane: int, row: int, column: int, rows: slice) -> np.ndarray | None:
        """`rows` of one tile or strip, (row, column, sample); None where the file leaves it out."""
        page = self._page
        columns, lines = -(-self.width // self._wide), -(-self.height // self._high)
        index = (plane * lines + row) * columns + column
        offset, count = int(page.dataoffsets[index]), int(page.databytecounts[index])
        if not offset or not count:
            return None
        samples = 1 if self._separate else self.samples
        high = self._high if page.is_tiled else min(self._high, self.height - row * self._high)
        if int(page.compression) == _NONE:
            return self._raw(offset, count, rows, samples)
        data = self._bytes(offset, count)
        return self._decoded(data, index, high, samples)[rows]

    def _bytes(self, offset: int, count: int) -> bytes:
        if count > _LARGEST_PART:
            raise ValueError("a part of more than 1 GiB")
        data = os.pread(self._descriptor, count, offset)
        if len(data) < count:
            raise ValueError("cut short")
        return data

    def _raw(self, offset: int, count: int, rows: slice, samples: int) -> np.ndarray:
        """Of an uncompressed part only the rows that are asked for are read: a whole slide may be one strip."""
        line = self._wide * samples * self._page.dtype.itemsize
        if rows.stop * line > count:
            raise ValueError("cut short")
        data = self._bytes(offset + rows.start * line, (rows.stop - rows.start) * line)
        stored = np.frombuffer(data, self._page.dtype.newbyteorder(self._order))
        if int(self._page.fillorder) != 1:
            raise ValueError("bits in reverse order")
        return stored.reshape(rows.stop - rows.start, self._wide, samples).astype(self._page.dtype)

    def _decoded(self, data: bytes, index: int, high: int, samples: int) -> np.ndarray:
        compression = int(self._page.compression)
        if compression in _BY_TIFFFILE:
            found, _, _ = self._page.decode(data, index)
            whole = None if found is None else found.reshape(-1, *found.shape[-2:])
        elif compression == _LZW:
            whole = _by_opencv(self._as_file(data, high, samples), samples)
        else:
            whole = _by_opencv(data if compression in _JPEG2000 else self._whole_jpeg(data), samples)
        if whole is None or whole.shape[0] < high or whole.shape[1] != self._wide or whole.shape[2] != samples:
            raise ValueError("a part that does not decode")
        return whole

    def _whole_jpeg(self, data: bytes) -> bytes:
        """A JPEG stream with the tables that TIFF keeps apart, and a word on its colours where decoders would guess."""
        tables = self._page.jpegtables or b""
        start = tables[:-2] + data[2:] if tables else data
        stated = int(self._page.photometric) == _RGB and self.samples == 3 and not self._separate
        return start[:2] + _ADOBE_RGB + start[2:] if stated and b"Adobe" not in start[:1024] else start

    def _as_file(self, data: bytes, high: int, samples: int) -> bytes:
        """One compressed part as a TIFF file of its own (TIFF 6.0 §2)."""
        bits = 8 * self._page.dtype.itemsize
        order = self._order
        tags = [
            *((256, 4, 1, self._wide), (257, 4, 1, high), (259, 3, 1, int(self._page.compression))),
            *((262, 3, 1, _RGB if samples == 3 else 1), (277, 3, 1, samples), (278, 4, 1, high)),
            *((279, 4, 1, len(data)), (284, 3, 1, 1), (317, 3, 1, int(self._page.predictor))),
        ]
        body = 8 + 2 + 12 * (len(tags) + 2) + 4
        tags += [(258, 3, samples, bits if samples == 1 else body), (273, 4, 1, body + 2 * samples)]
        file = bytearray(b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
        for tag, kind, number, value in sorted(tags):
            short = kind == 3 and number == 1
            file += struct.pack(f"{order}HHI", tag, kind, number)
            file += struct.pack(f"{order}HH", value, 0) if short else struct.pack(f"{order}I", value)
        file += struct.pack(f"{order}I", 0) + struct.pack(f"{order}{samples}H", *[bits] * samples)
        return bytes(file) + data


def _by_opencv(data: bytes, samples: int) -> np.ndarray | None:
    """(row, column, sample) in the order stored; None where it does not decode."""
    cv2 = silent_opencv()
    try:
        found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if found is None:
        return None
    if found.ndim == 2:
        return found[:, :, None]
    return found[:, :, ::-1] if samples == 3 else found
