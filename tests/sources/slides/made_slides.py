"""Slides made by the tests: pyramidal tiled TIFFs and microscope images whose every pixel is known."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import tifffile

GLASS = (243, 242, 244)
STAIN = (190, 90, 160)


def stained(height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 (height, width, 3) RGB: textured tissue everywhere, every tile of it different."""
    noise = np.random.default_rng(seed).integers(-40, 41, (height, width, 1))
    return np.clip(np.array(STAIN) + noise, 0, 255).astype(np.uint8)


def on_glass(height: int, width: int, box: tuple[int, int, int, int], seed: int = 0) -> np.ndarray:
    """Glass with stained tissue in box = (left, upper, right, lower)."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:] = GLASS
    left, upper, right, lower = box
    pixels[upper:lower, left:right] = stained(lower - upper, right - left, seed)
    return pixels


def write_png(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[:, :, ::-1]))
    return path


def write_slide(path: Path, pixels: np.ndarray, mpp: float | None = 0.25, levels: int = 1, tile: int = 256) -> Path:
    """A tiled TIFF, each level half as large (2 × 2 means), lossless; resolution in pixels per centimetre."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"tile": (tile, tile), "photometric": "rgb" if pixels.ndim == 3 else "minisblack"}
    with tifffile.TiffWriter(path) as file:
        for level in range(levels):
            if mpp is not None:
                options |= {"resolution": (1e4 / (mpp * 2**level),) * 2, "resolutionunit": "CENTIMETER"}
            file.write(pixels, subfiletype=int(level > 0), **options)
            height, width = pixels.shape[0] // 2 * 2, pixels.shape[1] // 2 * 2
            pixels = cv2.resize(pixels[:height, :width], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return path
