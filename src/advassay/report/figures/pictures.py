"""Pixels for figures: 8-bit display of native images, magnified differences, data URIs."""

from __future__ import annotations

import base64
import math
from pathlib import Path

import numpy as np

from advassay.errors import ReportError
from advassay.records.gallery import Example, read_image

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
    """A lossless data URI."""
    return _uri(image, ".png", "image/png", [])


def page_uri(image: np.ndarray) -> str:
    """A data URI for the page: lossless for small images, compressed above LOSSLESS_SIDE pixels."""
    import cv2

    if max(image.shape[:2]) <= LOSSLESS_SIDE:
        return png_uri(image)
    return _uri(image, ".webp", "image/webp", [cv2.IMWRITE_WEBP_QUALITY, 92])


def _uri(image: np.ndarray, suffix: str, mime: str, options: list[int]) -> str:
    import cv2

    pixels = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(suffix, pixels, options)
    if not done:
        raise ReportError(
            f"image: {suffix} cannot be written, got {image.shape} {image.dtype}.", "Give uint8 grey or RGB."
        )
    return f"data:{mime};base64,{base64.b64encode(data.tobytes()).decode()}"
