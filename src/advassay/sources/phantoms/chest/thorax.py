"""Body wall, lungs and diaphragm: the outlines everything else refers to.

Image left is the patient's right side. y = −1 is the upper edge (neck), 1 the lower (upper abdomen).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from advassay.sources.phantoms.chest.person import Person, Position
from advassay.sources.phantoms.raster import Curve, bell, dome, step

_BODY = Curve(
    (-1.2, 0.27), (-1.0, 0.25), (-0.93, 0.29), (-0.86, 0.42), (-0.79, 0.66), (-0.72, 0.92), (-0.6, 1.06),
    (-0.42, 1.02), (-0.22, 0.93), (0.0, 0.89), (0.4, 0.88), (0.8, 0.87), (1.2, 0.88),
)  # fmt: skip
"""Half width of neck, shoulders and trunk."""
_LUNG_OUTER = Curve(
    (-0.76, 0.25), (-0.745, 0.31), (-0.72, 0.37), (-0.66, 0.45), (-0.55, 0.525), (-0.4, 0.59), (-0.2, 0.65),
    (0.05, 0.70), (0.3, 0.73), (0.5, 0.745), (0.75, 0.745), (1.2, 0.72),
)  # fmt: skip
_LUNG_INNER = Curve(
    (-0.76, 0.25), (-0.745, 0.20), (-0.71, 0.155), (-0.64, 0.115), (-0.5, 0.09), (-0.3, 0.075), (0.3, 0.07), (1.2, 0.07)
)
_APEX = -0.76


@dataclass(frozen=True)
class Thorax:
    """Outlines on the grid; arrays broadcast to (batch, height, width)."""

    x: np.ndarray
    y: np.ndarray
    side: np.ndarray
    """1 where the image shows the patient's left (x > 0), else 0."""
    across: np.ndarray
    """|x|."""
    body_half: np.ndarray
    lung_outer: np.ndarray
    body: np.ndarray
    """Soft-tissue path, 1 in the middle of the trunk."""
    lung: np.ndarray
    """Air path of the lungs, 0–1."""
    dome_y: np.ndarray
    """Height of the diaphragm."""


def thorax_of(person: Person, position: Position, x: np.ndarray, y: np.ndarray) -> Thorax:
    """Outlines for a batch on the grid x (1, 1, w), y (1, h, 1)."""
    d = person.draws
    side = (x > 0).astype(np.float32)
    across = np.abs(x)
    height = d.normal("thorax height", 1.0, 0.035)
    level = y / height
    body_half = _BODY(level) * (0.5 + 0.5 * person.cage) * (0.94 + 0.06 * person.fat)
    outer = _LUNG_OUTER(level) * person.cage * (1 + position.inspiration * 0.3)
    inner = _LUNG_INNER(level)
    dome_y = _diaphragm(person, position, across / outer, side)
    return Thorax(
        x=x, y=y, side=side, across=across, body_half=body_half, lung_outer=outer,
        body=_soft_tissue(x, y, body_half),
        lung=_air(across, level, outer, inner, dome_y - y),
        dome_y=dome_y,
    )  # fmt: skip


def _soft_tissue(x: np.ndarray, y: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Trunk as an elliptic cylinder, thinner at the neck and over the shoulders."""
    depth = 0.72 + 0.28 * step(y + 0.35, 0.9)
    ratio = x / half
    square = ratio * ratio
    return depth * dome(square * (0.35 + 0.65 * square)) * step(half - np.abs(x), 0.03)


def _diaphragm(person: Person, position: Position, ratio: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Two domes, the right one higher, falling steeply into the costophrenic angles."""
    d = person.draws
    right = 0.44 + position.inspiration + d.normal("right dome", sd=0.025)
    left_lower = np.clip(d.normal("left dome", 0.055, 0.02), 0.01, 0.12)
    q = (ratio - d.normal("dome centre", 0.50, 0.02)) * 2
    q2 = q * q
    steep = np.where(q > 0, np.float32(1), np.float32(0.45))  # to the heart a dome falls less than to the side
    return right + left_lower * side + steep * (0.13 * q2 + 0.14 * q2 * q2 * q2)


def _air(across: np.ndarray, level: np.ndarray, outer: np.ndarray, inner: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Lung path: nearly flat across, thin at the apex, ending at wall, mediastinum and diaphragm (`above` it > 0)."""
    q = (2 * across - (outer + inner)) / (outer - inner + 0.01)
    q2 = q * q
    profile = dome(q2 * q2) * step(np.minimum(outer - across, across - inner), 0.035)
    depth = (0.62 + 0.38 * step(level + 0.45, 0.7)) * step(level - _APEX, 0.06)
    return profile * depth * (0.82 * step(above, 0.028) + 0.18 * step(above + 0.07, 0.16))


def chest_wall(person: Person, thorax: Thorax) -> np.ndarray:
    """What soft tissue adds: breasts with their lower fold, pectoral muscles, shoulders' muscle mass."""
    d = person.draws
    size = np.clip(d.normal("breast size", 0.27, 0.05), 0.15, 0.42)
    fall = d.normal("breast height", 0.18, 0.05) + 0.12 * (person.aged - 0.5) + 0.3 * (size - 0.26)
    dx = (thorax.across - d.normal("breast distance", 0.47, 0.03)) / (1.15 * size)
    dy = (thorax.y - fall) / size
    r2 = dx * dx + np.where(dy > 0, dy * dy, 0.30 * dy * dy)  # hangs: fades upwards, a fold below
    breast = np.maximum(1 - r2, 0) * (0.75 + 0.5 * step(dy, 1.0)) * (1 - person.male) * (0.4 + 2.2 * (size - 0.15))
    pectoral = bell(((thorax.across - 0.52) / 0.22) ** 2 + ((thorax.y + 0.28) / 0.26) ** 2) * (0.4 + 0.6 * person.male)
    return 0.34 * breast * step(thorax.body_half - thorax.across, 0.05) + 0.07 * pectoral
