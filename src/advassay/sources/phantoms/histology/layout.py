"""Where things lie in a tile: regions (epithelium, colloid, empty space; the rest is stroma) and nuclei.

One class describes a tile as it grows; the organs in `organs.py` are written in its words.
"""

from __future__ import annotations

import numpy as np

EPITHELIUM, COLLOID, SPACE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
_CORNERS = 28
FIELD = 1.15
"""Tiles are laid out a little beyond their edges, so that shapes are cut as by a microscope's field."""


class Layout:
    """Regions and nuclei of one tile, in drawing order. Lengths: the tile spans [−1, 1], 1 ≈ 60 µm."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.outlines: list[np.ndarray] = []
        self.fills: list[tuple[int, int, int]] = []
        self._nuclei: list[np.ndarray] = []

    def region(
        self, centre: np.ndarray, radius: float, fill: tuple[int, int, int], wobble: float = 0.08, stretch: float = 1.0
    ) -> np.ndarray:
        """Add a roundish region; returns its outline (corner, 2)."""
        turn = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
        phase = self.rng.uniform(0, 2 * np.pi, 3)
        waves = sum(np.cos((k + 2) * turn + phase[k]) / (k + 1) for k in range(3))
        r = radius * (1 + wobble * waves)
        around = np.stack([r * np.cos(turn) * stretch, r * np.sin(turn) / stretch], axis=1)
        c, s = np.cos(phase[0]), np.sin(phase[0])
        outline = centre + around @ np.array([[c, s], [-s, c]])
        self.outlines.append(outline)
        self.fills.append(fill)
        return outline

    def nuclei(
        self,
        centre: np.ndarray,
        radius: float | np.ndarray,
        *,
        long: float = 1.25,
        angle: np.ndarray | None = None,
        dark: float = 0.75,
        atypia: float = 1.0,
    ) -> None:
        """Add nuclei at `centre` (n, 2): mean radius, ratio of axes, direction, darkness 0–1, share of pleomorphism."""
        n = len(centre)
        turn = self.rng.uniform(0, np.pi, n) if angle is None else angle
        columns = np.broadcast_arrays(radius, long, turn, dark, atypia)
        self._nuclei.append(np.column_stack([centre, *(np.broadcast_to(c, (n,)) for c in columns)]))

    def all_nuclei(self) -> np.ndarray:
        """(n, 7): x, y, radius, ratio of axes, direction, darkness, share of pleomorphism."""
        return np.concatenate(self._nuclei) if self._nuclei else np.zeros((0, 7))

    def scattered(self, spacing: float, jitter: float = 0.38) -> np.ndarray:
        """(n, 2) points over the whole field about `spacing` apart."""
        cells = max(1, round(2 * FIELD / spacing))
        line = ((np.arange(cells) + 0.5) / cells * 2 - 1) * FIELD
        points = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
        start = self.rng.uniform(-0.5, 0.5, 2)
        return points + (start + self.rng.uniform(-jitter, jitter, points.shape)) * (2 * FIELD / cells)

    def along(
        self, outline: np.ndarray, spacing: float, inwards: float, jitter: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Points along a closed outline, moved `inwards` of the way to its middle, (n, 2); the wall's direction."""
        middle = outline.mean(axis=0)
        ring = middle + (outline - middle) * (1 - inwards)
        closed = np.concatenate([ring, ring[:1]])
        length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
        n = max(3, round(length[-1] / spacing))
        at = (np.arange(n) + self.rng.uniform(-0.25, 0.25, n) + self.rng.random()) % n * (length[-1] / n)
        points = np.stack([np.interp(at, length, closed[:, k]) for k in (0, 1)], axis=1)
        out = points - middle
        wall = np.arctan2(out[:, 1], out[:, 0]) + np.pi / 2
        return points + self.rng.normal(0, jitter, points.shape), wall


def inside(points: np.ndarray, centres: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """(n,) whether each point lies in any of the discs."""
    if not len(centres):
        return np.zeros(len(points), bool)
    gap = points[:, None] - centres[None]
    return (np.einsum("pdk,pdk->pd", gap, gap) < radii**2).any(axis=1)
