"""Stain normalisation: the colours of haematoxylin and eosin on one slide → those of a reference.

Macenko et al. 2009 (doi:10.1109/ISBI.2009.5193250), with the constants of the authors' published code. The two stains
of a slide are estimated from several of its tiles together, so that all its tiles are changed alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from advassay.sources.slides.slide import Slide
from advassay.sources.slides.tile_grid import Grid, read_tile

LIGHT = 240.0
"""Transmitted light: the value of empty glass."""
_LEAST_DENSITY = 0.15
"""Optical density below which a pixel is glass (β of the paper)."""
_OUTER_PERCENT = 1.0
"""Percentile of the angles that bounds the stains (α of the paper), and from the top that of the concentrations."""
REFERENCE = np.array([[0.5626, 0.2159], [0.7201, 0.8012], [0.4062, 0.5581]])
"""Optical density of haematoxylin and of eosin in red, green and blue."""
REFERENCE_MOST = np.array([1.9705, 1.0308])
"""99th percentile of their concentrations."""
TILES = 12
"""Tiles of a slide that its stains are estimated from."""
_FEWEST_PIXELS = 1000


@dataclass(frozen=True)
class Stains:
    """vectors: (3, 2), optical densities of haematoxylin and eosin; most: (2,), 99th percentiles of their amounts."""

    vectors: np.ndarray
    most: np.ndarray


def fit_stains(pixels: np.ndarray) -> Stains | None:
    """The two stains of `pixels`, uint8 (…, 3) RGB; None where they are too few or of one colour."""
    density = _density(pixels.reshape(-1, 3))
    stained = density[(density >= _LEAST_DENSITY).all(axis=1)]
    if len(stained) < _FEWEST_PIXELS:
        return None
    plane = np.linalg.eigh(np.cov(stained.T))[1][:, 1:3]
    plane[:, 1] *= np.sign((stained @ plane[:, 1]).sum()) or 1  # of an eigenvector either sign may come: no angle wraps
    angles = np.arctan2(*(stained @ plane).T[::-1])
    low, high = np.percentile(angles, (_OUTER_PERCENT, 100 - _OUTER_PERCENT))
    first, second = (plane @ np.array([np.cos(angle), np.sin(angle)]) for angle in (low, high))
    vectors = np.stack([first, second] if first[0] > second[0] else [second, first], axis=1)
    if np.linalg.cond(vectors) > 1e3:
        return None
    most = np.percentile(_concentrations(density, vectors), 100 - _OUTER_PERCENT, axis=1)
    return Stains(vectors, most) if (most > 0).all() else None


def normalise(pixels: np.ndarray, stains: Stains) -> np.ndarray:
    """`pixels`, uint8 (height, width, 3) RGB, with the reference's stains in the concentrations they have here."""
    concentrations = _concentrations(_density(pixels.reshape(-1, 3)), stains.vectors)
    scaled = concentrations * (REFERENCE_MOST / stains.most)[:, None]
    light = LIGHT * np.exp(-(REFERENCE @ scaled)).T
    return np.clip(light, 0, 255).astype(np.uint8).reshape(pixels.shape)


def as_asked(pixels: np.ndarray, stains: Stains | None) -> np.ndarray:
    """`pixels` with normalised stains, or as they are where there are none to normalise."""
    return pixels if stains is None else normalise(pixels, stains)


def fit_slide(slide: Slide, grid: Grid, candidates: pl.DataFrame) -> Stains | None:
    """The stains of a slide from up to TILES of its candidate cells (column cell), spread evenly; None where no two
    stains are found."""
    cells = candidates["cell"].gather_every(max(1, -(-candidates.height // TILES))).to_list()
    read = [read_tile(slide, grid, cell) for cell in cells]
    colour = [
        found.pixels.reshape(-1, 3)
        for found in read
        if found is not None and found.pixels.ndim == 3 and found.pixels.dtype == np.uint8
    ]
    return fit_stains(np.concatenate(colour)) if colour else None


def _density(pixels: np.ndarray) -> np.ndarray:
    return -np.log((pixels.astype(np.float64) + 1) / LIGHT)


def _concentrations(density: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """(2, pixel), least squares."""
    return np.linalg.lstsq(vectors, density.T, rcond=None)[0]
