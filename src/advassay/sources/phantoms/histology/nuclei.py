"""Draw regions and nuclei of a layout into 8-bit layers."""

from __future__ import annotations

import cv2
import numpy as np

from advassay.sources.phantoms.histology.layout import Layout
from advassay.sources.phantoms.raster import fill, to_fixed_point

_CORNERS = 12
_MEMBRANE = 0.80
"""Radius of the paler inside of a nucleus, relative to the whole."""


def draw_regions(canvas: np.ndarray, layout: Layout) -> None:
    """Fill the regions into a (size, size, 3) canvas: epithelium, colloid, space."""
    for outline, colour in zip(layout.outlines, layout.fills, strict=True):
        cv2.fillPoly(canvas, [to_fixed_point(outline, len(canvas))], colour, cv2.LINE_AA, 4)


def draw_nuclei(canvas: np.ndarray, layout: Layout, pleomorphism: float, chromatin: float) -> None:
    """Fill the nuclei into a (size, size) canvas of haematoxylin, each with a darker rim and perhaps a nucleolus."""
    nuclei = layout.all_nuclei()
    nuclei = nuclei[(np.abs(nuclei[:, :2]) < 1.2).all(axis=1)]
    rng, n = layout.rng, len(nuclei)
    centre, (radius, long, angle, dark, atypia) = nuclei[:, :2], nuclei[:, 2:].T
    uneven = pleomorphism * atypia
    radius = radius * np.exp(uneven * rng.standard_normal(n))
    outline = _outlines(rng, radius, long * np.exp(0.5 * uneven * rng.standard_normal(n)), angle, uneven)
    spread = rng.uniform(0.05, 0.20)  # of the dye, in any tissue
    dark = np.clip(dark * np.exp((spread + 0.25 * uneven) * rng.standard_normal(n)), 0.3, 1.0)
    clear = 1 - (0.18 + 0.22 * chromatin) * rng.random(n)
    dots = centre + 0.35 * radius[:, None] * rng.uniform(-1, 1, (n, 2))
    has_dot = rng.random(n) < 0.9 * chromatin * atypia
    small = 0.26 * radius[:, None, None] * _circle(8)
    shapes = np.concatenate([centre[:, None] + outline, centre[:, None] + _MEMBRANE * outline])
    values = np.concatenate([dark, dark * clear])
    order = np.arange(2 * n).reshape(2, n).T.ravel()  # rim and inside of one nucleus before the next one
    fill(canvas, shapes[order], (255 * values[order]).astype(np.uint8), 1.0)
    fill(canvas, (dots[:, None] + small)[has_dot], np.minimum(255 * dark * 1.15, 255).astype(np.uint8)[has_dot], 1.0)


def _outlines(rng: np.random.Generator, radius: np.ndarray, long: np.ndarray, angle: np.ndarray, uneven: np.ndarray):
    """(n, corner, 2) ellipses with uneven borders around the origin; equal area whatever the ratio of axes."""
    n = len(radius)
    phase = rng.uniform(0, 2 * np.pi, (2, n, 1))
    turn = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    bumps = np.cos(2 * turn + phase[0]) + 0.7 * np.cos(3 * turn + phase[1])
    r = radius[:, None] * (1 + 0.45 * uneven[:, None] * bumps)
    a, b = r * np.cos(turn) * np.sqrt(long)[:, None], r * np.sin(turn) / np.sqrt(long)[:, None]
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    return np.stack([a * c - b * s, a * s + b * c], axis=2)


def _circle(corners: int) -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([np.cos(turn), np.sin(turn)], axis=1)
