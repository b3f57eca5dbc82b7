"""Contact sheets: every image small, with its region drawn on it, for a person to look over. A line says the colours.

They hold image pixels, so they go to a folder the person names, never into a store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import cv2
import numpy as np

from advassay.cohorts.regions.atlas import LEFT_LUNG, RIGHT_LUNG
from advassay.cohorts.regions.found import Found

TILE_PX, CAPTION_PX, GAP_PX = 232, 34, 6
COLUMNS, ROWS = 6, 4
_KEPT, _OUT, _LUNGS, _TEXT = (90, 220, 60), (70, 70, 255), (0, 215, 255), (235, 235, 235)
"""Blue, green, red."""
LEGEND = ((_LUNGS, "lungs as found"), (_KEPT, "region, kept"), (_OUT, "region, left out"))
LEGEND_PX = 16


class Pictured(NamedTuple):
    """One tile: the image as stored, what was found in it, and two lines of text."""

    pixels: np.ndarray
    found: Found
    caption: tuple[str, str]


def sheets(pictures: Iterable[Pictured]) -> Iterator[np.ndarray]:
    """(height, width, 3) uint8 blue-green-red sheets of at most COLUMNS × ROWS tiles, one at a time."""
    tiles = (_tile(picture) for picture in pictures)
    while page := list(islice(tiles, COLUMNS * ROWS)):
        blank = np.zeros_like(page[0])
        rows = [page[start : start + COLUMNS] for start in range(0, len(page), COLUMNS)]
        across = COLUMNS if len(rows) > 1 else len(page)
        page_image = np.vstack([np.hstack(row + [blank] * (across - len(row))) for row in rows])
        yield np.vstack([page_image, *_legend(page_image.shape[1])])


def _legend(width: int) -> list[np.ndarray]:
    """One line for each colour."""
    lines = []
    for colour, text in LEGEND:
        line = np.zeros((LEGEND_PX, width, 3), np.uint8)
        cv2.rectangle(line, (2, 4), (12, LEGEND_PX - 4), colour, -1)
        cv2.putText(line, text, (18, LEGEND_PX - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.4, _TEXT, 1, cv2.LINE_AA)
        lines.append(line)
    return lines


def _tile(picture: Pictured) -> np.ndarray:
    shown, zoom = _small(picture.pixels)
    _draw(shown, picture.found, zoom)
    tile = np.zeros((TILE_PX + CAPTION_PX + GAP_PX, TILE_PX + GAP_PX, 3), np.uint8)
    top, left = (TILE_PX - shown.shape[0]) // 2, (TILE_PX - shown.shape[1]) // 2
    tile[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
    for line, text in enumerate(picture.caption):
        at = (2, TILE_PX + 13 + 15 * line)
        cv2.putText(tile, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.4, _TEXT, 1, cv2.LINE_AA)
    return tile


def _small(pixels: np.ndarray) -> tuple[np.ndarray, float]:
    """The image in colour at tile size, grey values stretched between percentiles; and how much smaller it is."""
    zoom = TILE_PX / max(pixels.shape[:2])
    size = max(1, round(pixels.shape[1] * zoom)), max(1, round(pixels.shape[0] * zoom))
    method = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    small = cv2.resize(pixels.astype(np.float32), size, interpolation=method)
    low, high = np.percentile(small, [0.5, 99.5])
    grey = (255 * np.clip((small - low) / max(float(high - low), 1e-12), 0, 1)).astype(np.uint8)
    return np.ascontiguousarray(grey[:, :, ::-1] if grey.ndim == 3 else np.repeat(grey[:, :, None], 3, axis=2)), zoom


def _draw(shown: np.ndarray, found: Found, zoom: float) -> None:
    thorax = found.thorax
    if thorax is not None:
        for outline in (LEFT_LUNG, RIGHT_LUNG):
            points = np.array([thorax.at(x, y) for x, y in outline]) * zoom
            cv2.polylines(shown, [np.rint(points).astype(np.int32)], True, _LUNGS, 1, cv2.LINE_AA)
    if found.box is not None:
        left, top, right, bottom = (round(edge * zoom) for edge in found.box)
        cv2.rectangle(shown, (left, top), (right - 1, bottom - 1), _KEPT if found.reason is None else _OUT, 2)
