"""Which pixels a file declares not to be image: padding (PS3.3 §C.7.5.1.1.2) and display shutters (§C.7.6.11)."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np


def padding_mask(values: np.ndarray, padding: tuple[int, int] | None) -> np.ndarray | None:
    """Where `values` lie within `padding`, both ends included: bool (height, width); None where none does."""
    if padding is None:
        return None
    low, high = padding
    mask = values == low if low == high else (values >= low) & (values <= high)
    return mask if mask.any() else None


def padding_range(ds: Any) -> tuple[int, int] | None:
    """Lowest and highest padding value, in the sign of the stored values; None where none is declared.

    (0028,0120) Pixel Padding Value, and with (0028,0121) Pixel Padding Range Limit all values between the two. Their VR
    is US or SS by the image's sign; writers that take the wrong one mean the same bits.
    """
    if ds.get("PixelPaddingValue") in (None, ""):
        return None
    bits, signed = int(ds.BitsAllocated), int(ds.get("PixelRepresentation") or 0) == 1
    ends = []
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        value = ds.get(keyword)
        if value is None or value == "":
            continue
        try:
            number = int(value)
        except (TypeError, ValueError):
            return None
        if not -(1 << (bits - 1)) <= number < 1 << bits:
            return None
        number &= (1 << bits) - 1
        ends.append(number - (1 << bits) if signed and number >> (bits - 1) else number)
    return min(ends), max(ends)


def shutter_mask(ds: Any) -> np.ndarray | None:
    """Where (0018,1600) Shutter Shape hides the image: bool (rows, columns); None without a shutter that hides any.

    What is left is inside every shape named: RECTANGULAR, CIRCULAR, POLYGONAL. Raises ValueError for a shutter that
    leaves nothing, or whose geometry is incomplete.
    """
    shapes = ds.get("ShutterShape")
    if not shapes:
        return None
    rows, columns = int(ds.Rows), int(ds.Columns)
    shown = np.ones((rows, columns), bool)
    for shape in [shapes] if isinstance(shapes, str) else list(shapes):
        shown &= (
            _SHAPES[str(shape).strip().upper()](ds, rows, columns) if str(shape).strip().upper() in _SHAPES else True
        )
    if not shown.any():
        raise ValueError("(0018,1600) Shutter Shape leaves no pixel")
    return None if shown.all() else ~shown


def _rectangle(ds: Any, rows: int, columns: int) -> np.ndarray:
    """(0018,1602) … (0018,1608): the edges' columns and rows, counted from 1."""
    keywords = ("LeftVerticalEdge", "RightVerticalEdge", "UpperHorizontalEdge", "LowerHorizontalEdge")
    left, right, upper, lower = (_whole(ds, f"Shutter{keyword}") for keyword in keywords)
    shown = np.zeros((rows, columns), bool)
    shown[max(0, upper - 1) : max(0, lower), max(0, left - 1) : max(0, right)] = True
    return shown


def _circle(ds: Any, rows: int, columns: int) -> np.ndarray:
    """(0018,1610) Center (row, column, from 1) and (0018,1612) Radius in pixels along a row; with pixels that are not
    square it is an ellipse."""
    row, column = (int(number) - 1 for number in _several(ds, "CenterOfCircularShutter", 2))
    radius = _whole(ds, "RadiusOfCircularShutter")
    ratio = ds.get("PixelAspectRatio")
    vertical, horizontal = (float(number) for number in ratio) if ratio else (1.0, 1.0)
    tall = vertical / horizontal if vertical > 0 and horizontal > 0 else 1.0
    down, across = np.ogrid[:rows, :columns]
    return np.asarray(((down - row) * tall) ** 2 + (across - column) ** 2 <= radius**2)


def _polygon(ds: Any, rows: int, columns: int) -> np.ndarray:
    """(0018,1620) Vertices: row and column of each, from 1."""
    numbers = [int(number) - 1 for number in _several(ds, "VerticesOfThePolygonalShutter", 6)]
    if len(numbers) % 2:
        raise ValueError("(0018,1620) Vertices of the Polygonal Shutter: pairs of row and column")
    corners = np.array(numbers, np.int32).reshape(-1, 2)[:, ::-1]  # OpenCV wants x, y
    shown = np.zeros((rows, columns), np.uint8)
    cv2.fillPoly(shown, [corners], (1,))
    return shown.astype(bool)


_SHAPES = {"RECTANGULAR": _rectangle, "CIRCULAR": _circle, "POLYGONAL": _polygon}


def _whole(ds: Any, keyword: str) -> int:
    value = ds.get(keyword)
    if value in (None, ""):
        raise ValueError(f"a shutter without {keyword}")
    return int(value)


def _several(ds: Any, keyword: str, least: int) -> list[Any]:
    value = ds.get(keyword)
    numbers = list(value) if value not in (None, "") else []
    if len(numbers) < least:
        raise ValueError(f"a shutter with {len(numbers)} numbers in {keyword}")
    return numbers
