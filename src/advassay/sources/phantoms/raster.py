"""Shapes and fields on a pixel grid: soft edges, filled polygons, band-limited noise, one resampling.

Geometry is in fractions of the field: x from left to right, y downwards, the image spans [−1, 1] in both, so
that a phantom looks the same at 64 and at 512 px. Arrays are (batch, height, width) float32; parameters are
(batch, 1, 1).
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from scipy.interpolate import PchipInterpolator

DRAWING_PX = 256
"""Thin shapes are drawn at this size at least, then reduced, so that their width does not depend on the pixel."""
FRACTION_BITS = 4
"""cv2 takes polygon corners as integers with this many fractional bits."""
_CURVE_SAMPLES = 1024
_NONE, _ONE, _ENDLESS = np.float32(0), np.float32(1), np.float32(np.inf)


@lru_cache(maxsize=8)
def grid(size: int, half_width: float) -> tuple[np.ndarray, np.ndarray]:
    """x (1, 1, size) and y (1, size, 1) of pixel centres over [−half_width, half_width]."""
    centres = ((np.arange(size) + 0.5) / size * 2 - 1) * half_width
    line = centres.astype(np.float32)
    line.setflags(write=False)
    return line[None, None, :], line[None, :, None]


def step(distance: np.ndarray, softness: float) -> np.ndarray:
    """0 → 1 as `distance` goes from −softness/2 to softness/2 (cubic, continuous slope)."""
    t = distance * np.float32(1 / softness)
    t += np.float32(0.5)
    np.clip(t, _NONE, _ONE, out=t)  # a sixth of the time of minimum and maximum
    slope = t * np.float32(-2)
    slope += np.float32(3)
    slope *= t
    slope *= t
    return slope


def dome(squared_radius: np.ndarray) -> np.ndarray:
    """Path length through an ellipsoid: √(1 − r²) inside r = 1, else 0."""
    t = 1 - squared_radius
    np.clip(t, _NONE, _ENDLESS, out=t)
    return np.sqrt(t, out=t)


def bell(squared_radius: np.ndarray) -> np.ndarray:
    """(1 − r²/4)² inside r = 2, else 0: a bump that needs no exponential."""
    t = squared_radius * np.float32(-0.25)
    t += np.float32(1)
    np.clip(t, _NONE, _ENDLESS, out=t)
    t *= t
    return t


class Curve:
    """A smooth monotone-preserving curve through points, looked up in a table. Beyond its ends it is constant."""

    def __init__(self, *points: tuple[float, float]) -> None:
        at, value = np.array(points, np.float64).T
        self._at = np.linspace(at[0], at[-1], _CURVE_SAMPLES)
        self._value = PchipInterpolator(at, value)(self._at)

    def __call__(self, where: np.ndarray) -> np.ndarray:
        return np.interp(where, self._at, self._value).astype(np.float32)


def clouds(generators: list[np.random.Generator], size: int, cells: int) -> np.ndarray:
    """(batch, size, size) smooth noise, mean 0, sd about 0.6, with `cells` independent values along a side."""
    fields = [g.standard_normal((cells + 3, cells + 3), dtype=np.float32) for g in generators]
    return np.stack([_enlarge(field, size) for field in fields])


def _enlarge(field: np.ndarray, size: int) -> np.ndarray:
    cells = field.shape[0] - 3
    scale = cells / size
    to_field = np.array([[scale, 0, 1.0], [0, scale, 1.0]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(field, to_field, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT)


def to_fixed_point(corners: np.ndarray, size: int, half_width: float = 1.0) -> np.ndarray:
    """Coordinates x, y in the last axis as cv2's int32 pixels with `FRACTION_BITS` fractional bits."""
    pixels = ((corners / half_width + 1) * (size / 2) - 0.5) * (1 << FRACTION_BITS)
    return np.rint(pixels).astype(np.int32)


def fill(canvas: np.ndarray, corners: np.ndarray, values: np.ndarray, half_width: float) -> None:
    """Fill polygons into a uint8 canvas, in order. `corners`: (polygon, corner, 2) x, y; `values`: (polygon,) 0–255."""
    polygons = to_fixed_point(corners, len(canvas), half_width)
    for polygon, value in zip(polygons, values.tolist(), strict=True):
        cv2.fillConvexPoly(canvas, polygon, value, cv2.LINE_AA, FRACTION_BITS)


def strokes(start: np.ndarray, end: np.ndarray, width_start: np.ndarray, width_end: np.ndarray) -> np.ndarray:
    """(stroke, 4, 2) corners of tapered strokes from `start` to `end`, both (stroke, 2)."""
    along = end - start
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.maximum(np.hypot(*along.T), 1e-6)[:, None]
    a, b = across * width_start[:, None] / 2, across * width_end[:, None] / 2
    return np.stack([start + a, end + b, end - b, start - a], axis=1)


def resample(canvas: np.ndarray, size: int) -> np.ndarray:
    """A square canvas at another size: area means when smaller, bilinear when larger."""
    if canvas.shape[0] == size:
        return canvas
    shrink = canvas.shape[0] > size
    return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR)
