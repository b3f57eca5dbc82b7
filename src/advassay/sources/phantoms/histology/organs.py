"""Architectures: thyroid follicles with colloid, ovarian spindle stroma with follicles, breast ducts, fat and collagen.

Each takes the organ from normal (malignancy 0) to carcinoma (1) without a jump: glands give way to crowded,
irregular nests; single layers of nuclei to several; order to disorder.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from advassay.sources.phantoms.histology.tile_layout import COLLOID, EPITHELIUM, SPACE, Layout, inside

NUCLEUS = 0.062
"""Radius of a normal epithelial nucleus: 3.7 µm."""


@dataclass(frozen=True)
class Cells:
    """One tile's numbers out of `Tissue`."""

    malignancy: float
    size: float
    crowding: float
    infiltrate: float

    @property
    def m(self) -> float:
        return min(max(self.malignancy, 0.0), 1.0)

    @property
    def radius(self) -> float:
        return NUCLEUS * self.size

    def dark(self, base: float) -> float:
        """Haematoxylin per area of a nucleus: a large one is paler, so that colour alone tells little."""
        return base * (1.25 - 0.25 * self.size)

    def spacing(self, base: float) -> float:
        """Distance of neighbouring nuclei: they need room as they grow, and crowd in their own measure."""
        return base * (0.15 + 0.85 * self.size) / np.sqrt(self.crowding)


def thyroid(tile: Layout, cells: Cells) -> None:
    """Follicles lined by one layer of cells around colloid; a carcinoma's are misshapen and their nuclei large."""
    rng, m = tile.rng, cells.m
    scale, thick = rng.uniform(0.55, 1.15), rng.uniform(1.4, 2.8)
    hollow, empty = rng.uniform(0.4, 1.0), rng.uniform(0.0, 0.5)
    centres, radii = tile.packed(0.16 * scale, 0.50 * scale, gap=0.03, tries=int(rng.integers(16, 70)))
    for centre, radius in zip(centres, radii, strict=True):
        follicle = tile.region(centre, radius, EPITHELIUM, 0.05 + 0.10 * m * rng.random(), 1 + 0.2 * rng.random())
        middle = follicle.mean(axis=0)
        wall = min(thick * NUCLEUS / radius, 0.75)
        if rng.random() < hollow:
            tile.outlines.append(middle + (follicle - middle) * (1 - wall))
            tile.fills.append(SPACE if rng.random() < empty else COLLOID)
        _lining(tile, cells, follicle, 0.5 * wall, dark=0.74 - 0.06 * m)
        if rng.random() < 0.1 + 0.4 * (1 - hollow) and radius > 2.6 * cells.radius:
            _lining(tile, cells, follicle, 1.2 * wall, dark=0.72)
    between = tile.scattered(0.25)
    _spindles(tile, cells, between[~inside(between, centres, 1.1 * radii)], dark=0.66)


def ovary(tile: Layout, cells: Cells) -> None:
    """Whorled spindle-cell stroma, now and then a follicle; a carcinoma fills it with nests split by slits."""
    rng, m = tile.rng, cells.m
    centres, radii = _sites(tile, share=rng.uniform(0.0, 0.4) * (1 - m) + rng.uniform(0.3, 1.0) * m)
    stroma = tile.scattered(cells.spacing(0.150) * rng.uniform(0.9, 1.15))
    _spindles(tile, cells, stroma[~inside(stroma, centres, radii)], dark=0.70)
    for centre, radius in zip(centres, radii, strict=True):
        if rng.random() < 1 - m:
            _follicle(tile, cells, centre, min(radius, 0.42))
        else:
            _nest(tile, cells, centre, radius, slits=0.4)


def breast(tile: Layout, cells: Cells) -> None:
    """Ducts with two layers of cells in collagen and fat; a carcinoma's nests and cords in dense stroma."""
    rng, m = tile.rng, cells.m
    fat_at, fat_radii = _fat(tile, rng.random())
    centres, radii = _sites(tile, share=rng.uniform(0.25, 1.0))
    clear = ~inside(centres, fat_at, fat_radii)
    centres, radii = centres[clear], radii[clear]
    fibroblasts = tile.scattered(cells.spacing(0.28) * rng.uniform(0.7, 1.3))
    fibroblasts = fibroblasts[~inside(fibroblasts, centres, radii) & ~inside(fibroblasts, fat_at, fat_radii)]
    _spindles(tile, cells, fibroblasts, dark=0.68)
    for centre, radius in zip(centres, radii, strict=True):
        if rng.random() < 1 - m:
            _duct(tile, cells, centre, min(radius, 0.40))
        else:
            _nest(tile, cells, centre, radius, slits=0.8)


def lymphocytes(tile: Layout, cells: Cells) -> None:
    """Small, round, dark nuclei in loose groups, in any tissue."""
    rng = tile.rng
    groups = rng.uniform(-1, 1, (3, 2))
    n = min(int(rng.poisson(14 * cells.infiltrate)), 90)
    at = groups[rng.integers(0, 3, n)] + rng.normal(0, 0.28, (n, 2))
    tile.nuclei(at, 0.044, long=1.08, dark=0.95, atypia=0.15)


def _sites(tile: Layout, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Centres and radii of glands, follicles or nests: about `share` of those that have room."""
    centres, radii = tile.packed(0.20, 0.46, gap=0.03)
    chosen = tile.rng.random(len(centres)) < share
    return centres[chosen], radii[chosen]


def _lining(tile: Layout, cells: Cells, outline: np.ndarray, inwards: float, dark: float) -> None:
    at, wall = tile.along(outline, cells.spacing(0.165) * cells.size**0.8, inwards, 0.008 + 0.03 * cells.m)
    tile.nuclei(at, cells.radius, long=1.15 + 0.15 * cells.m, angle=wall, dark=cells.dark(dark))


def _duct(tile: Layout, cells: Cells, centre: np.ndarray, radius: float) -> None:
    """Lumen, an inner layer of cuboidal and an outer one of flat, darker cells."""
    outline = tile.region(centre, radius, EPITHELIUM, 0.10, 1 + 0.3 * tile.rng.random())
    middle = outline.mean(axis=0)
    tile.outlines.append(middle + (outline - middle) * max(0.12, 1 - 3.4 * cells.radius / radius))
    tile.fills.append(SPACE)
    outer, wall = tile.along(outline, cells.spacing(0.19), 0.02, 0.006)
    tile.nuclei(outer, 0.72 * cells.radius, long=1.9, angle=wall, dark=0.8, atypia=0.5)
    _lining(tile, cells, outline, min(2.0 * cells.radius / radius, 0.6), dark=0.7)


def _follicle(tile: Layout, cells: Cells, centre: np.ndarray, radius: float) -> None:
    """Granulosa cells in layers around a pale egg cell."""
    outline = tile.region(centre, radius, EPITHELIUM, 0.04)
    middle = outline.mean(axis=0)
    for layer in range(3):
        _lining(tile, cells, outline, (0.10 + 0.20 * layer), dark=0.72)
    tile.outlines.append(middle + (outline - middle) * 0.38)
    tile.fills.append(COLLOID)


def _nest(tile: Layout, cells: Cells, centre: np.ndarray, radius: float, slits: float) -> None:
    """A solid, irregular group of tumour cells, some with a slit-like space."""
    outline = tile.region(centre, 1.15 * radius, EPITHELIUM, 0.22, 1 + 0.5 * tile.rng.random())
    middle = outline.mean(axis=0)
    if tile.rng.random() < slits:
        tile.region(middle, 0.38 * radius, SPACE, 0.25, 1.5)
    points = tile.scattered(cells.spacing(0.185), 0.36)
    reach = np.hypot(*(outline - middle).T).mean()
    near = points[inside(points, middle[None], np.array([reach]))]
    tile.nuclei(near, cells.radius, long=1.2, dark=cells.dark(0.74))


def _spindles(tile: Layout, cells: Cells, points: np.ndarray, dark: float) -> None:
    """Elongated nuclei along a slowly turning direction."""
    phase = tile.rng.uniform(0, 2 * np.pi, 3)
    swirl = phase[0] + 1.1 * np.sin(1.7 * points[:, 0] + phase[1]) + 1.1 * np.cos(1.9 * points[:, 1] + phase[2])
    angle = swirl + tile.rng.normal(0, 0.2, len(points))
    size = 1 + 0.4 * (cells.size - 1)
    tile.nuclei(points, 0.75 * NUCLEUS * size, long=2.9 - 0.8 * cells.m, angle=angle, dark=dark, atypia=0.6)


def _fat(tile: Layout, amount: float) -> tuple[np.ndarray, np.ndarray]:
    """Fat cells, big, empty and side by side, in a part of the field."""
    centres, radii = tile.packed(0.20, 0.30, gap=0.012, tries=60)
    side = tile.rng.uniform(0, 2 * np.pi)
    depth = centres @ np.array([np.cos(side), np.sin(side)])
    chosen = depth > 1.9 - 2.0 * amount + tile.rng.normal(0, 0.12, len(centres))
    for centre, radius in zip(centres[chosen], radii[chosen], strict=True):
        tile.region(centre, radius, SPACE, 0.05, 1.05)
    return centres[chosen], radii[chosen]


ARCHITECTURE = {"thyroid": thyroid, "ovary": ovary, "breast": breast}
