"""What a frontal chest X-ray looks like, as a drawing: two dark lung fields in a bright body.

Coordinates are shares of the thorax: x from the outer wall of the right lung (image left, 0) to that of the left lung
(1), y from the apices (0) to the costophrenic angles (1). The outlines are drawn by hand after a normal PA film; they
hold no patient's image.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from skimage.draw import polygon2mask

RIGHT_LUNG = np.array([
    (0.30, 0.00), (0.39, 0.06), (0.43, 0.18), (0.43, 0.35), (0.41, 0.50), (0.39, 0.65), (0.37, 0.82), (0.25, 0.80),
    (0.13, 0.84), (0.02, 1.00), (0.00, 0.85), (0.02, 0.60), (0.06, 0.35), (0.13, 0.15), (0.20, 0.04),
])  # fmt: skip
"""(corner, 2) x, y of the patient's right lung: on the left of the image."""

LEFT_LUNG = np.array([
    (0.70, 0.00), (0.61, 0.06), (0.57, 0.18), (0.585, 0.30), (0.59, 0.40), (0.63, 0.52), (0.71, 0.68), (0.75, 0.84),
    (0.82, 0.84), (0.90, 0.88), (0.98, 1.00), (1.00, 0.85), (0.98, 0.60), (0.94, 0.35), (0.87, 0.15), (0.80, 0.04),
])  # fmt: skip

AORTIC_ARCH = (0.57, 0.28)
"""Middle of the arch: a little to the patient's left, at a third of the lungs' height (T4–T5 of T1–T12)."""

TYPICAL_WIDTH_MM = 280.0
"""Inner width of an adult's thorax: what stands in for the scale of an image whose pixel spacing is not known."""
TYPICAL_ASPECT = 1.08
"""Height / width, apices to costophrenic angles."""

SIDES, ABOVE, BELOW = 0.08, 0.10, 0.30
"""What the drawing shows around the thorax: chest wall, shoulders, and enough abdomen to tell where the lungs end."""
_MIDDLES = ((0.08, 0.34), (0.70, 0.92))
"""Across each lung, clear of the heart and of the chest wall."""
GRID = 48
"""Side of the drawing in pixels."""
_FINE = 4


@lru_cache(maxsize=1)
def drawing() -> np.ndarray:
    """(GRID, GRID) float32: 0 in the lungs, 1 elsewhere, with soft edges; spans thorax and surroundings."""
    fine = np.zeros((_FINE * GRID,) * 2, np.float32)
    for outline in (RIGHT_LUNG, LEFT_LUNG):
        x = (outline[:, 0] + SIDES) / (1 + 2 * SIDES)
        y = (outline[:, 1] + ABOVE) / (1 + ABOVE + BELOW)
        fine[polygon2mask(fine.shape, np.stack([y, x], axis=1) * len(fine))] = 1
    soft = cv2.GaussianBlur(1 - fine, (0, 0), 3.0)
    made = cv2.resize(soft, (GRID, GRID), interpolation=cv2.INTER_AREA)
    made.setflags(write=False)
    return made


@lru_cache(maxsize=1)
def lung_ends() -> tuple[np.ndarray, np.ndarray]:
    """Bool (GRID, GRID) over the drawing: the lungs' lower halves, and what lies just below them (the abdomen)."""
    steps = (np.arange(GRID) + 0.5) / GRID
    x, y = np.meshgrid(steps * (1 + 2 * SIDES) - SIDES, steps * (1 + ABOVE + BELOW) - ABOVE)
    below = np.any([(x > left) & (x < right) for left, right in _MIDDLES], axis=0) & (y > 1.06) & (y < 1.22)
    return (drawing() < 0.3) & (y > 0.45), below
