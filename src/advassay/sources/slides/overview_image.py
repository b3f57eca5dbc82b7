"""A small image of a whole slide, read block by block, and the same with its chosen tiles drawn on it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import polars as pl
from PIL import Image, ImageDraw, ImageFont

from advassay.sources.slides.slide import Slide

LONGEST_PX = 2048
"""Longer side of an overview: what masks and thumbnails are made from."""
_BLOCK_PX = 1024
_SMALLEST_PX = 8
"""Of the overview: a damaged block is halved down to this side, so that a damaged place costs no more."""


@dataclass(frozen=True)
class Overview:
    """pixels: uint8 (height, width, 3) RGB. factor: level-0 pixels per overview pixel along x and y. damaged: share of
    its area that could not be read (white there)."""

    pixels: np.ndarray
    factor: tuple[float, float]
    damaged: float


def overview(slide: Slide, longest_px: int = LONGEST_PX) -> Overview:
    """The slide shrunk by area-averaging of the coarsest level that is still finer; never enlarged."""
    width, height = slide.sizes[0]
    factor = max(1.0, max(width, height) / longest_px)
    size = max(1, round(width / factor)), max(1, round(height / factor))
    level = max(index for index, times in enumerate(slide.downsamples) if times <= factor + 1e-6)
    pixels = np.full((size[1], size[0], 3), 255, np.uint8)
    scale = width / size[0], height / size[1]
    times = slide.downsamples[level]
    step = max(1, int(_BLOCK_PX * times / max(scale)))
    damaged = 0
    for top in range(0, size[1], step):
        for left in range(0, size[0], step):
            part = pixels[top : top + step, left : left + step]
            damaged += _fill(part, slide, level, left, top, scale)
    return Overview(pixels, scale, damaged / (size[0] * size[1]))


def _fill(part: np.ndarray, slide: Slide, level: int, left: int, top: int, scale: tuple[float, float]) -> int:
    """Write the slide into `part` of the overview, whose corner is (left, top); returns how many pixels are damaged."""
    rows, columns = part.shape[:2]
    times = slide.downsamples[level]
    x, y = round(left * scale[0]), round(top * scale[1])
    wide = max(1, round(columns * scale[0] / times))
    high = max(1, round(rows * scale[1] / times))
    region = slide.region(x, y, level, wide, high)
    if region is not None:
        part[:] = cv2.resize(as_rgb8(region.pixels, slide.white), (columns, rows), interpolation=cv2.INTER_AREA)
        return 0
    if max(rows, columns) <= _SMALLEST_PX:
        return rows * columns
    middle, centre = (rows + 1) // 2, (columns + 1) // 2
    quarters = ((0, 0), (0, centre), (middle, 0), (middle, centre))
    pieces = [(down, right, part[down : down + middle, right : right + centre]) for down, right in quarters]
    return sum(
        _fill(piece, slide, level, left + right, top + down, scale) for down, right, piece in pieces if piece.size
    )


def as_rgb8(pixels: np.ndarray, white: int | None = None) -> np.ndarray:
    """Grey or RGB, 8 or 16 bits → uint8 (height, width, 3). `white`: the 16-bit value that becomes 255.

    >>> as_rgb8(np.full((1, 1), 65535, np.uint16)).tolist()
    [[[255, 255, 255]]]
    """
    eight = pixels
    if pixels.dtype == np.uint16 and (white is None or white >= 65535):
        eight = (pixels >> 8).astype(np.uint8)
    elif pixels.dtype == np.uint16 and white is not None:
        eight = (np.minimum(pixels, white).astype(np.uint32) * 255 // white).astype(np.uint8)
    return np.ascontiguousarray(np.stack([eight] * 3, axis=2) if eight.ndim == 2 else eight)


COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233))
"""Of the classes, in the order of their names (Okabe and Ito, told apart by colour-blind people)."""
LEFT_OUT = (70, 70, 70)
"""Of cells with tissue that gave no tile: a diagonal."""
_LEAST_PX = 700
_FONT_SHARE = 1 / 64
"""Of the thumbnail's width; at least 14 pixels."""


def draw_thumbnail(
    pixels: np.ndarray, factor: tuple[float, float], cells: pl.DataFrame, side: float, *, title: str
) -> np.ndarray:
    """uint8 (height, width, 3) RGB. `pixels`: overview; `factor`: level-0 pixels per overview pixel; `cells`: with x,
    y, label, image, reason; `side`: of a tile in level-0 pixels. Small overviews are enlarged."""
    grow = max(1, -(-_LEAST_PX // max(pixels.shape[:2])))
    shown = cv2.resize(pixels, None, fx=grow, fy=grow, interpolation=cv2.INTER_NEAREST) if grow > 1 else pixels.copy()
    labels = sorted(cells.filter(pl.col("image").is_not_null())["label"].drop_nulls().unique())
    colours = {label: COLOURS[place % len(COLOURS)] for place, label in enumerate(labels)} | {None: COLOURS[0]}
    scale = grow / factor[0], grow / factor[1]
    width = max(1, min(3, int(side * scale[0]) // 12))
    for x, y, label, image, reason in cells.select("x", "y", "label", "image", "reason").iter_rows():
        corner = round(x * scale[0]) + width // 2, round(y * scale[1]) + width // 2
        end = round((x + side) * scale[0]) - 1 - width // 2, round((y + side) * scale[1]) - 1 - width // 2
        if image is not None:
            cv2.rectangle(shown, corner, end, colours[label], width, cv2.LINE_8)
        elif reason not in ("background", "not drawn"):
            cv2.line(shown, corner, end, LEFT_OUT, width, cv2.LINE_AA)
    return np.vstack([shown, _legend(shown.shape[1], cells, colours, title)])


def _legend(width: int, cells: pl.DataFrame, colours: dict[str | None, tuple[int, int, int]], title: str) -> np.ndarray:
    entries: list[tuple[str, tuple[int, int, int]]] = [(title, (0, 0, 0))]
    kept = cells.filter(pl.col("image").is_not_null())["label"].value_counts().sort("label")
    entries += [(f"{label or 'tiles'}: {count:,}", colours[label]) for label, count in kept.iter_rows()]
    lost = cells.filter(pl.col("image").is_null())["reason"].value_counts(sort=True)
    entries += [(f"{reason}: {count:,}", LEFT_OUT) for reason, count in sorted(lost.iter_rows())]
    size = max(14, round(width * _FONT_SHARE))
    font = ImageFont.load_default(size=size)
    lines = _wrapped([(text, colour, font.getlength(text)) for text, colour in entries], width)
    legend = Image.new("RGB", (width, round(1.4 * size) * len(lines) + 6), "white")
    pen = ImageDraw.Draw(legend)
    for number, line in enumerate(lines):
        for left, text, colour in line:
            pen.text((left, 3 + number * round(1.4 * size)), text, fill=colour, font=font)
    return np.asarray(legend)


def _wrapped(
    entries: list[tuple[str, tuple[int, int, int], float]], width: int
) -> list[list[tuple[float, str, tuple[int, int, int]]]]:
    lines: list[list[tuple[float, str, tuple[int, int, int]]]] = [[]]
    left = 6.0
    for text, colour, length in entries:
        if lines[-1] and left + length > width:
            lines.append([])
            left = 6.0
        lines[-1].append((left, text, colour))
        left += length + 20
    return lines
