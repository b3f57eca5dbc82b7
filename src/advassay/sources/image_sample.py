"""What a few images of a source look like: size, colour, and the image type that may be meant."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import polars as pl
from PIL import Image

from advassay.sources.base import FileSource, OpenSource, Pixels
from advassay.sources.image_decoder import is_coloured
from advassay.sources.kinds.npz import NpzArrays
from advassay.sources.read_failures import Unreadable

LOOKED_AT = 48
_SIDE = 128

_WORDS = (
    (r"\boct\b|retin(al|a)_?oct", "OCT"),
    (r"mri|\bmr\b|brain", "MRI"),
    (r"\bct\b|\bcts\b|ct_?scans?|covid_?ct|axial|coronal", "CT"),
    (r"ultraso|\bbusi\b|sonogr", "ultrasound"),
    (r"mammo|\bddsm\b|inbreast", "mammography"),
    (r"x_?ray|\bcxr|chest|pneumon|tubercul|covid|thora", "X-ray"),
)
_STAIN_HUES = (0.70, 0.97)
"""Hue (0 … 1) of what haematoxylin and eosin colour: blue-purple to pink."""
_BRIGHT, _DARK = 0.78, 0.12
_STAINED_SHARE = 0.6


@dataclass(frozen=True)
class ImageLook:
    """seen: images that were read. coloured: how many of them show colour. width, height: medians, in pixels.
    image_type: a guess; why: what it rests on."""

    seen: int
    coloured: int
    width: int
    height: int
    image_type: str
    why: str


def look_at(images: Iterable[Pixels], words: str) -> ImageLook | None:
    """Look at a few images; `words`: names of folders, columns and classes. None where none can be read."""
    read = [pixels for pixels in images if not isinstance(pixels, Unreadable)]
    if not read:
        return None
    coloured = [pixels for pixels in read if is_coloured(pixels)]
    height, width = (int(np.median([pixels.shape[axis] for pixels in read])) for axis in (0, 1))
    if 2 * len(coloured) >= len(read):
        image_type, why = _of_colour(coloured)
    else:
        image_type, why = _of_grey(words)
    return ImageLook(len(read), len(coloured), width, height, image_type, why)


def _of_grey(words: str) -> tuple[str, str]:
    plain = re.sub(r"[\W_]+", "_", words.lower()).replace("_", " ")
    for pattern, image_type in _WORDS:
        if re.search(pattern.replace("_?", " ?"), plain):
            return image_type, "grey images; names suggest it"
    return "X-ray", "grey images; or CT, MRI, ultrasound ...?"


def _of_colour(images: list[np.ndarray]) -> tuple[str, str]:
    stained, dark = (np.mean([share(pixels) for pixels in images]) for share in (_stained_share, _dark_corners))
    if stained >= _STAINED_SHARE:
        return "histology", "purple to pink on a bright ground"
    if dark >= 0.5:
        return "fundus", "colour inside dark corners; or endoscopy?"
    return "photograph", "in colour, not stained purple and pink: dermoscopy, photograph ...?"


def _small_hsv(pixels: np.ndarray) -> np.ndarray:
    """float32 (height, width, 3): hue, saturation and value in [0, 1] of the image made small."""
    unit: np.ndarray = pixels.astype(np.float32) / np.iinfo(pixels.dtype).max
    if max(unit.shape[:2]) > _SIDE:
        unit = cv2.resize(unit, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(unit, cv2.COLOR_RGB2HSV) / np.array([360, 1, 1], np.float32)


def _stained_share(pixels: np.ndarray) -> float:
    """Of the coloured part of an image that is not dark: the share in the hues of haematoxylin and eosin."""
    hue, saturation, value = np.moveaxis(_small_hsv(pixels), 2, 0)
    tissue = (saturation > 0.08) & (value > _DARK)
    if not tissue.any():
        return 0.0
    low, high = _STAIN_HUES
    return float(((hue >= low) & (hue <= high))[tissue].mean())


def _dark_corners(pixels: np.ndarray) -> float:
    """Share of the four corners that are black."""
    value = _small_hsv(pixels)[:, :, 2]
    down, right = max(1, value.shape[0] // 16), max(1, value.shape[1] // 16)
    corners = (value[:down, :right], value[:down, -right:], value[-down:, :right], value[-down:, -right:])
    return float(np.mean([corner.mean() < _DARK for corner in corners]))


SIZES_READ = 64


def declared_sizes(opened: OpenSource, rows: pl.Series) -> list[tuple[int, int]]:
    """(height, width) of up to 64 of `rows`, spread evenly; empty where a source does not declare them."""
    wanted = rows.gather_every(max(1, -(-rows.len() // SIZES_READ)))
    if isinstance(opened, NpzArrays):
        return [opened.declared_size(row) for row in wanted]
    if not isinstance(opened, FileSource) or opened.root is None:
        return []
    paths = opened.rows.filter(pl.col("row").is_in(wanted.implode()))["path"].drop_nulls()
    sizes = (_size_of(opened.root / path) for path in paths)
    return [size for size in sizes if size is not None]


def _size_of(path: Path) -> tuple[int, int] | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG", "JPEG", "TIFF")) as image:
                return image.height, image.width
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # whatever a broken header makes of it
        return None
