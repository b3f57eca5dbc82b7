"""Image figures as rows of pictures with text above and below: 8-bit display, magnified differences, layout."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from advassay.errors import ReportError
from advassay.png_files import encode_png
from advassay.records.gallery import Example, read_image
from advassay.report.figures.theme import INK, MUTED

if TYPE_CHECKING:
    import altair as alt


LOSSLESS_SIDE = 160
"""On the page larger images are compressed (WebP, quality 92); the files beside it are always lossless."""


def pair(gallery: Path, example: Example) -> tuple[np.ndarray, np.ndarray]:
    """(original, adversarial) as stored: uint8 or uint16, (height, width) or (height, width, 3)."""
    return read_image(gallery, example.clean_file), read_image(gallery, example.adversarial_file)


def display(image: np.ndarray) -> np.ndarray:
    """8 bit, shown from 0 to the largest storable value (no window): uint16 is divided by 257 and rounded."""
    return image if image.dtype == np.uint8 else np.rint(image / 257.0).astype(np.uint8)


def magnification(epsilon: float) -> float:
    """The factor at which ±ε fills the grey scale, rounded down to two digits so that nothing is cut off.

    >>> magnification(0.02), magnification(0.2), magnification(0.06)
    (25.0, 2.5, 8.3)
    """
    exact = 0.5 / epsilon
    unit = 10.0 ** (math.floor(math.log10(exact)) - 1)
    return round(math.floor(exact / unit + 1e-9) * unit, 10)


def difference(original: np.ndarray, adversarial: np.ndarray, factor: float) -> np.ndarray:
    """0.5 + factor · (adversarial − original) as 8 bit, mid-grey where nothing changed; the images' shape."""
    top = float(np.iinfo(original.dtype).max)
    delta = (adversarial.astype(np.float64) - original.astype(np.float64)) / top
    return np.rint(255 * np.clip(0.5 + factor * delta, 0, 1)).astype(np.uint8)


def enlarged(image: np.ndarray, side: int) -> np.ndarray:
    """Nearest neighbour by the whole factor that comes closest to `side` pixels, at least 1: no pixel is invented."""
    factor = max(1, round(side / max(image.shape[:2])))
    return np.repeat(np.repeat(image, factor, axis=0), factor, axis=1)


def png_uri(image: np.ndarray) -> str:
    """A lossless data URI. Raises ReportError for what is not uint8 grey or RGB."""
    try:
        return _uri("image/png", encode_png(image))
    except ValueError:
        raise ReportError(
            f"image: cannot be written as PNG, got {image.shape} {image.dtype}.", "Give uint8 grey or RGB."
        ) from None


def page_uri(image: np.ndarray) -> str:
    """A data URI for the page: lossless for small images, compressed above LOSSLESS_SIDE pixels."""
    from PIL import Image

    if max(image.shape[:2]) <= LOSSLESS_SIDE:
        return png_uri(image)
    written = io.BytesIO()
    Image.fromarray(image).save(written, "WEBP", quality=92)
    return _uri("image/webp", written.getvalue())


def _uri(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


Weight = Literal["normal", "bold"]

SIDE, GAP, LINE, HEAD = 160, 14, 15, 24
EXPORT_SCALE = 2
"""PNG pixels per CSS pixel; pictures are enlarged for it."""
FONTS: tuple[tuple[Weight, int], ...] = (("bold", 13), ("bold", 11), ("normal", 11))


@dataclass(frozen=True)
class Picture:
    """One picture with what is written at it."""

    image: np.ndarray
    """uint8 (height, width) or (height, width, 3)."""
    alt: str
    above: str = ""
    below: tuple[str, ...] = ()
    fallen: bool = False
    """Drawn with an emphasised caption: the network no longer sees the true class."""


@dataclass(frozen=True)
class Cell:
    """Pictures that belong together, one under the other (adversarial image and difference) or side by side."""

    pictures: tuple[Picture, ...]
    above: str = ""


@dataclass(frozen=True)
class Row:
    """Cells of one cohort."""

    title: str
    cells: tuple[Cell, ...]
    colour: str


def plate(rows: list[Row], *, stacked: bool, columns: int) -> alt.TopLevelMixin:
    """One chart at fixed pixel places. `stacked`: pictures of a cell under each other; else side by side.

    `columns`: cells a line; a row with more is broken, rows of one cell stand abreast. Images are enlarged by
    a whole factor (nearest neighbour).
    """
    import altair as alt

    cell = _cell_width(rows, stacked)
    width = columns * cell - GAP
    abreast = columns if all(len(row.cells) == 1 for row in rows) else 1
    images: list[dict[str, Any]] = []
    texts: list[dict[str, Any]] = []
    y = 0.0
    for first in range(0, len(rows), abreast):
        beside = rows[first : first + abreast]
        for place, row in enumerate(beside):
            left = place * cell
            texts.append(
                {"x": left, "y": y + 10, "text": row.title, "colour": row.colour, "weight": "bold", "size": 13}
            )
        y += HEAD
        cells = tuple(one for row in beside for one in row.cells)
        for start in range(0, len(cells), columns):
            y += _line(cells[start : start + columns], y, stacked, cell, images, texts)
        y += GAP
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, width], nice=False))
    down = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[y, 0], nice=False))
    sides = sorted({picture["side"] for picture in images})
    drawn = [
        _drawn([picture for picture in images if picture["side"] == side], side).encode(x=x, y=down) for side in sides
    ]
    written = [_written(texts, weight, size).encode(x=x, y=down) for weight, size in FONTS]
    return alt.layer(*drawn, *written).properties(width=width, height=y)


def _cell_width(rows: list[Row], stacked: bool) -> int:
    across = 1 if stacked else max(len(cell.pictures) for row in rows for cell in row.cells)
    return across * (SIDE + 4) + GAP


def _line(
    cells: tuple[Cell, ...], top: float, stacked: bool, cell_width: int,
    images: list[dict[str, Any]], texts: list[dict[str, Any]],
) -> float:  # fmt: skip
    """Place one line of cells at `top`; its height."""
    tallest = 0.0
    for number, cell in enumerate(cells):
        left, y = number * cell_width, top
        if any(c.above for c in cells):
            texts.append(_text(left, y + 9, cell.above, "bold"))
            y += LINE + 3
        bottom = y
        for place, picture in enumerate(cell.pictures):
            x = left if stacked else left + place * (SIDE + 4)
            end = _place(picture, x, bottom if stacked else y, images, texts)
            bottom = end if stacked else max(bottom, end)
        tallest = max(tallest, bottom - top)
    return tallest + 6


def _place(picture: Picture, x: float, y: float, images: list[dict[str, Any]], texts: list[dict[str, Any]]) -> float:
    """Place one picture with its text at (x, y); where it ends."""
    large = enlarged(picture.image, round(EXPORT_SCALE * SIDE))
    side = max(large.shape[:2]) / EXPORT_SCALE  # so that one pixel of it is one pixel of the exported PNG
    images.append({"x": x, "y": y, "url": png_uri(large), "side": side})
    y += side + 11
    for line in picture.below:
        texts.append(_text(x, y, line, "bold" if picture.fallen else "normal"))
        y += LINE
    return y - 4


def _text(x: float, y: float, text: str, weight: str) -> dict[str, Any]:
    return {"x": x, "y": y, "text": text, "colour": INK if weight == "bold" else MUTED, "weight": weight, "size": 11}


def _drawn(images: list[dict[str, Any]], side: float) -> alt.Chart:
    import altair as alt

    chart = alt.Chart(alt.Data(values=images)).encode(url="url:N")
    return chart.mark_image(width=side, height=side, align="left", baseline="top")


def _written(texts: list[dict[str, Any]], weight: Weight, size: int) -> alt.Chart:
    import altair as alt

    chosen = [text for text in texts if text["weight"] == weight and text["size"] == size]
    chart = alt.Chart(alt.Data(values=chosen)).encode(text="text:N", color=alt.Color("colour:N", scale=None))
    limit = SIDE + 10 if size == 11 else 900
    return chart.mark_text(align="left", baseline="middle", fontSize=size, fontWeight=weight, limit=limit)
