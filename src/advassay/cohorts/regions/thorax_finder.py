"""Where the thorax is in a frontal chest X-ray: a drawing of two lung fields, laid where it fits best."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from scipy.optimize import minimize

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
        fine[_inside(np.stack([x, y], axis=1) * len(fine), len(fine))] = 1
    soft = cv2.GaussianBlur(1 - fine, (0, 0), 3.0)
    made = cv2.resize(soft, (GRID, GRID), interpolation=cv2.INTER_AREA)
    made.setflags(write=False)
    return made


def _inside(outline: np.ndarray, side: int) -> np.ndarray:
    """Bool (side, side): pixels whose coordinates lie in a closed outline or on a slanted edge, (corner, 2) x, y.

    Edges crossed to the right and to the left are counted apart (O'Rourke 1998, §7.4): both numbers are odd inside, and
    one of them on an edge.
    """
    row, column = np.mgrid[:side, :side]
    right, left = np.zeros((2, side, side), bool)
    for corner, following in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if corner[1] == following[1]:
            continue
        (x0, y0), (x1, y1) = ((x - column, y - row) for x, y in (corner, following))
        crossing = (x0 * y1 - x1 * y0) / (y1 - y0)
        right ^= ((y0 > 0) != (y1 > 0)) & (crossing > 0)
        left ^= ((y0 < 0) != (y1 < 0)) & (crossing < 0)
    return right | left


@lru_cache(maxsize=1)
def lung_ends() -> tuple[np.ndarray, np.ndarray]:
    """Bool (GRID, GRID) over the drawing: the lungs' lower halves, and what lies just below them (the abdomen)."""
    steps = (np.arange(GRID) + 0.5) / GRID
    x, y = np.meshgrid(steps * (1 + 2 * SIDES) - SIDES, steps * (1 + ABOVE + BELOW) - ABOVE)
    below = np.any([(x > left) & (x < right) for left, right in _MIDDLES], axis=0) & (y > 1.06) & (y < 1.22)
    return (drawing() < 0.3) & (y > 0.45), below


WORKING_PX = 64
"""Longest side at which the thorax is looked for: lungs are large, and small images are fast."""
WIDTHS = tuple(np.linspace(0.42, 0.98, 8))
"""Widths tried, as shares of the image's."""
ASPECTS = (0.6, 0.75, 0.87, 1.0, 1.15, 1.32, 1.52)
"""Heights tried, as shares of the width."""
_OFF_IMAGE = 0.03
"""How far, as a share of its own size, a thorax may reach beyond the image."""
_UNUSUAL = 0.3
"""What a height e times the typical one costs, in units of correlation."""
_LEAST_CONTRAST = 1e-6


class Thorax(NamedTuple):
    """A box in pixels of the image, from the lungs' outer walls and from apices to costophrenic angles."""

    left: float
    top: float
    width: float
    height: float
    fit: float
    """Correlation of image and drawing, −1 … 1."""
    lead: float
    """By how much the image fits better than its negative and than itself turned."""
    closed: float = 1.0
    """By how much it is brighter below the outline than in the lungs' lower halves, 0 … 1 of the image's range. Small
    where the outline ends in the middle of the lungs."""

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixel coordinates of a point in shares of the thorax."""
        return self.left + x * self.width, self.top + y * self.height


def find_thorax(image: np.ndarray) -> Thorax | None:
    """The best place for a thorax in a grey image, or None where no place is possible (no contrast, too narrow).

    image: (height, width), any real dtype, bright = dense (as a film is read). Box edges in pixels, pixel i covering
    i … i + 1. Takes some 50 ms whatever the image's size.
    """
    small, zoom = _reduced(image)
    if small.max() - small.min() < _LEAST_CONTRAST or min(small.shape) < WORKING_PX // 4:
        return None
    start, upright, inverted = _coarse(small)
    if start is None:
        return None
    turned = [_coarse(np.rot90(small, quarters))[1] for quarters in (1, 2, 3)]
    box = _refined(small, start)
    left, top, width, height = (float(edge) for edge in box / np.tile(zoom, 2))
    lead = upright - max(inverted, *turned)
    return Thorax(left, top, width, height, _fit(small, box), lead, _closed(small, box))


def _reduced(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The image at working size with grey values stretched to 0 … 1, and how much smaller it is across and down."""
    height, width = image.shape
    zoom = WORKING_PX / max(height, width)
    size = max(1, round(width * zoom)), max(1, round(height * zoom))
    small = cv2.resize(image.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    low, high = np.percentile(small, [1, 99])
    small = np.clip((small - low) / max(float(high - low), 1e-12), 0, 1).astype(np.float32)
    return cv2.GaussianBlur(small, (0, 0), 0.8), np.array([size[0] / width, size[1] / height])


def _coarse(small: np.ndarray) -> tuple[np.ndarray | None, float, float]:
    """left, top, width, height of the best box of the grid, its correlation, and the strongest negative one."""
    margin = WORKING_PX // 5
    padded = np.pad(small, margin, mode="edge")
    best, box, opposite = -np.inf, None, 0.0
    for width in np.asarray(WIDTHS) * small.shape[1]:
        for height in width * np.asarray(ASPECTS):
            found = _best_place(padded, margin, small.shape, width, height)
            if found is None:
                continue
            opposite = max(opposite, found[2] - _implausibility(width, height))
            if found[1] - _implausibility(width, height) > best:
                best, box = found[1] - _implausibility(width, height), found[0]
    return box, best, opposite


def _best_place(
    padded: np.ndarray, margin: int, shape: tuple[int, ...], width: float, height: float
) -> tuple[np.ndarray, float, float] | None:
    """Where a box of this size correlates most, how much, and how much the drawing's negative would."""
    size = round(width * (1 + 2 * SIDES)), round(height * (1 + ABOVE + BELOW))
    if size[0] > padded.shape[1] or size[1] > padded.shape[0]:
        return None
    drawn = cv2.resize(drawing(), size, interpolation=cv2.INTER_AREA)
    scores = cv2.matchTemplate(padded, drawn, cv2.TM_CCOEFF_NORMED)
    left = np.arange(scores.shape[1]) - margin + SIDES * width
    top = np.arange(scores.shape[0]) - margin + ABOVE * height
    allowed = np.outer(_within(top, height, shape[0]), _within(left, width, shape[1]))
    if not allowed.any():
        return None
    row, column = np.unravel_index(np.where(allowed, scores, -np.inf).argmax(), scores.shape)
    box = np.array([left[column], top[row], width, height])
    return box, float(scores[row, column]), -float(scores[allowed].min())


def _within(start: np.ndarray, length: float, side: int) -> np.ndarray:
    spare = _OFF_IMAGE * length
    return (start >= -spare) & (start + length <= side + spare)


def _implausibility(width: float, height: float) -> float:
    return _UNUSUAL * float(np.log(height / width / TYPICAL_ASPECT)) ** 2


def _cost(small: np.ndarray, box: np.ndarray) -> float:
    """What the search makes small; 2 for a box that cannot be."""
    left, top, width, height = box
    if min(width, height) < WORKING_PX / 8:
        return 2.0
    if not (_within(left, width, small.shape[1]) and _within(top, height, small.shape[0])):
        return 2.0
    return _implausibility(width, height) - _fit(small, box)


def _refined(small: np.ndarray, start: np.ndarray) -> np.ndarray:
    steps = np.vstack([start, start + 0.06 * start[2] * np.eye(4)])
    options = {"initial_simplex": steps, "xatol": 0.05, "fatol": 1e-4, "maxfev": 160}
    return minimize(lambda box: _cost(small, box), start, method="Nelder-Mead", options=options).x


def _fit(small: np.ndarray, box: np.ndarray) -> float:
    """Correlation of the drawing with what the image shows in and around `box`."""
    seen = _visible_fraction(small, box)
    seen = seen - seen.mean()
    drawn = drawing() - drawing().mean()
    return float((seen * drawn).sum() / max(np.linalg.norm(seen) * np.linalg.norm(drawn), _LEAST_CONTRAST))


def _closed(small: np.ndarray, box: np.ndarray) -> float:
    seen = _visible_fraction(small, box)
    lower, below = lung_ends()
    return float(seen[below].mean() - seen[lower].mean())


def _visible_fraction(small: np.ndarray, box: np.ndarray) -> np.ndarray:
    left, top, width, height = box
    across, down = width * (1 + 2 * SIDES) / GRID, height * (1 + ABOVE + BELOW) / GRID
    to_image = np.array([
        [across, 0, left - SIDES * width + (across - 1) / 2],
        [0, down, top - ABOVE * height + (down - 1) / 2],
    ])  # fmt: skip
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(small, to_image, (GRID, GRID), flags=flags, borderMode=cv2.BORDER_REPLICATE)
