"""Where regions and nuclei lie in a tile, and their drawing into 8-bit layers."""

from __future__ import annotations

import cv2
import numpy as np

from advassay.sources.phantoms.raster import fill, to_fixed_point

EPITHELIUM, COLLOID, SPACE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
FIELD = 1.15
"""Tiles are laid out a little beyond their edges, so that shapes are cut as by a microscope's field."""
_TURN = np.linspace(0, 2 * np.pi, 28, endpoint=False)
_COSINE, _SINE = np.cos(_TURN), np.sin(_TURN)
_HARMONICS = np.arange(2, 5)[:, None]
_ROW_HEIGHT = np.sqrt(3) / 2


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
        phase = self.rng.uniform(0, 2 * np.pi, (3, 1))
        waves = (np.cos(_HARMONICS * _TURN + phase) / (_HARMONICS - 1)).sum(axis=0)
        r = radius * (1 + wobble * waves)
        around = np.stack([r * _COSINE * stretch, r * _SINE / stretch], axis=1)
        c, s = np.cos(phase[0, 0]), np.sin(phase[0, 0])
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
        rows = np.empty((len(centre), 7))
        rows[:, :2] = centre
        rows[:, 2], rows[:, 3], rows[:, 5], rows[:, 6] = radius, long, dark, atypia
        rows[:, 4] = self.rng.uniform(0, np.pi, len(centre)) if angle is None else angle
        self._nuclei.append(rows)

    def all_nuclei(self) -> np.ndarray:
        """(n, 7): x, y, radius, ratio of axes, direction, darkness, share of pleomorphism."""
        return np.concatenate(self._nuclei) if self._nuclei else np.zeros((0, 7))

    def scattered(self, spacing: float, jitter: float = 0.38) -> np.ndarray:
        """(n, 2) points over the whole field about `spacing` apart: a jittered hexagonal lattice, turned at random."""
        reach = 1.45 * FIELD
        line = np.arange(-reach, reach, spacing)
        x, y = np.meshgrid(line, line * _ROW_HEIGHT * 1.16)
        x[1::2] += spacing / 2
        points = np.stack([x.ravel(), y.ravel()], axis=1) + spacing * self.rng.uniform(-jitter, jitter, (x.size, 2))
        turn, start = self.rng.uniform(0, np.pi), spacing * self.rng.uniform(-0.5, 0.5, 2)
        c, s = np.cos(turn), np.sin(turn)
        points = points @ np.array([[c, -s], [s, c]]) + start
        return points[(np.abs(points) < FIELD + 0.5 * spacing).all(axis=1)]

    def packed(
        self, smallest: float, largest: float, gap: float = 0.02, tries: int = 45
    ) -> tuple[np.ndarray, np.ndarray]:
        """Centres (n, 2) and radii (n,) of discs that do not overlap, tried in random places from large to small."""
        radii = np.sort(self.rng.uniform(smallest, largest, tries))[::-1]
        places = self.rng.uniform(-FIELD, FIELD, (tries, 2))
        apart = np.hypot(places[:, None, 0] - places[None, :, 0], places[:, None, 1] - places[None, :, 1])
        clash = apart < radii[:, None] + radii[None, :] + gap
        kept: list[int] = []
        for k in range(tries):
            if not clash[k, kept].any():
                kept.append(k)
        return places[kept], radii[kept]

    def along(
        self, outline: np.ndarray, spacing: float, inwards: float, jitter: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Points along a closed outline, moved `inwards` of the way to its middle, (n, 2); the wall's direction."""
        middle = outline.mean(axis=0)
        ring = middle + (outline - middle) * (1 - inwards)
        closed = np.concatenate([ring, ring[:1]])
        length = np.zeros(len(closed))
        np.cumsum(np.hypot(*(closed[1:] - closed[:-1]).T), out=length[1:])
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
