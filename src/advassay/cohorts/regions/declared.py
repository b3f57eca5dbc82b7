"""Regions that are not looked for: a box by shares of the image, a mask that comes with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from advassay.cohorts.regions.chest import widened
from advassay.cohorts.regions.found import Box, Found, large_enough
from advassay.sources.decode import read_image
from advassay.sources.unreadable import Unreadable


def share_of(image: tuple[int, int], box: tuple[float, float, float, float]) -> Found:
    """The box with edges at these shares (left, top, right, bottom) of an image of (width, height) pixels.

    >>> share_of((200, 100), (0.25, 0.0, 0.75, 1.0)).box
    Box(left=50, top=0, right=150, bottom=100)
    """
    width, height = image
    edges = (round(share * side) for share, side in zip(box, (width, height, width, height), strict=True))
    return large_enough(Found(Box(*edges), 1.0))


def around_mask(path: str | None, folder: Path, image: tuple[int, int], margin: float) -> Found:
    """The box around all that is not 0 in the mask image at `path` inside `folder`, of the image's own size."""
    if not path:
        return Found(None, 0.0, "region: no mask stated")
    mask = read_image(folder / path, folder.resolve())
    if isinstance(mask, Unreadable):
        return Found(None, 0.0, f"region: mask {mask.reason}")
    marked = mask if mask.ndim == 2 else mask.max(axis=2)
    if marked.shape != image[::-1]:
        return Found(None, 0.0, "region: mask of another size than its image")
    rows, columns = np.flatnonzero(marked.any(axis=1)), np.flatnonzero(marked.any(axis=0))
    if not len(rows):
        return Found(None, 0.0, "region: empty mask")
    tight = Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return widened(tight, image, margin)
