"""A slide's overview with its chosen tiles drawn on it, and what became of the others in a line below."""

from __future__ import annotations

import cv2
import numpy as np
import polars as pl
from PIL import Image, ImageDraw, ImageFont

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
