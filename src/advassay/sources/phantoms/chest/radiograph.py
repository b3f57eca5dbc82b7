"""A batch of radiographs: anatomy → attenuation path → pose, blur, noise, display curve, 12 bits.

`landmarks` is a table of its own: a source's columns are what a study's rules may use, and no archive states positions.
"""

from __future__ import annotations

import cv2
import numpy as np
import polars as pl

from advassay.sources.phantoms.chest import mediastinum, parenchyma
from advassay.sources.phantoms.chest.chest_wall import chest_wall, skeleton, thorax_of
from advassay.sources.phantoms.chest.mediastinum import aortic_knob
from advassay.sources.phantoms.chest.person import Person, Position, persons, positions
from advassay.sources.phantoms.draws import Draws
from advassay.sources.phantoms.raster import grid, step
from advassay.sources.phantoms.truth import patient_of, truth_of
from advassay.spec.source_spec import PhantomSource

FIELD = 1.12
"""Half width of the anatomical canvas: more than the image, so that a moved or turned patient fills it."""
_LEVELS = 4095
_SPARE_BITS = 4


def expose(path: np.ndarray, position: Position) -> np.ndarray:
    """(batch, size, size) uint16 images from (batch, size, size) attenuation paths (0 = air, about 1 = mediastinum)."""
    d = position.draws
    seen = _pose(path, d)
    exposure = np.exp(d.normal("dose", sd=0.35))
    quanta = np.float32(0.007) / np.sqrt(exposure)
    noise = np.stack([g.standard_normal(path.shape[1:], dtype=np.float32) for g in d.generators("quanta")])
    seen += noise * (quanta * np.exp(np.float32(1.1) * np.minimum(seen, 1.6)))
    return _store(_display(seen, d), d)


def _pose(path: np.ndarray, d: Draws) -> np.ndarray:
    """Turn, shift and magnify; the same resampling blurs a little, the focal spot a little more."""
    size = path.shape[1]
    sigma = (size / 128 * d.uniform("blur", 0.35, 0.85)).ravel()
    return np.stack([_move(*each, size) for each in zip(path, *_moves(d), sigma, strict=True)])


def _moves(d: Draws) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Turn in radians and magnification, both (batch,), and shift x, y (batch, 2) in half widths of the image."""
    turn = d.normal("turn", sd=np.radians(1.1)).ravel()
    zoom = np.exp(d.normal("zoom", sd=0.025)).ravel()
    shift = np.stack([d.normal("shift x", sd=0.02).ravel(), d.normal("shift y", sd=0.025).ravel()], axis=1)
    return turn, zoom, shift


def seen_at(points: np.ndarray, position: Position) -> tuple[np.ndarray, np.ndarray]:
    """Where the image shows points of the anatomical canvas, and how much larger: the inverse of `_move`.

    points: (batch, 2) x, y on the canvas. Returns (batch, 2) x, y in half widths of the image, and (batch,) factors.
    """
    turn, zoom, shift = _moves(position.draws)
    x, y = ((points - shift * FIELD) / zoom[:, None]).T
    cosine, sine = np.cos(turn), np.sin(turn)
    return np.stack([cosine * x + sine * y, cosine * y - sine * x], axis=1), 1 / zoom


def _move(path: np.ndarray, turn: float, zoom: float, shift: np.ndarray, sigma: float, size: int) -> np.ndarray:
    scale = zoom / FIELD
    c, s = np.cos(turn) * scale, np.sin(turn) * scale
    middle = (size - 1) / 2
    linear = np.array([[c, -s], [s, c]])
    offset = middle - linear @ np.array([middle, middle]) + shift * size / 2
    matrix = np.column_stack([linear, offset])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(path, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return cv2.GaussianBlur(moved, (0, 0), float(sigma))


def _display(path: np.ndarray, d: Draws) -> np.ndarray:
    """Contrast, brightness and gamma of the workstation, different at every exposure."""
    level = d.normal("level", 0.02, 0.035)
    contrast = np.exp(d.normal("contrast", -0.08, 0.09))
    gamma = np.exp(d.normal("gamma", 0.05, 0.11))
    return np.clip(level + contrast * path, 0, 1) ** gamma


def _store(grey: np.ndarray, d: Draws) -> np.ndarray:
    """Shutters at the edges of some images, then 12-bit steps in uint16."""
    x, y = grid(grey.shape[1], 1.0)
    shut = d.unit("shutters") < 0.2
    sides = [
        np.where(shut, d.uniform(f"shutter {name}", 0.86, 1.06), np.float32(2))
        for name in ("left", "right", "top", "low")
    ]
    open_x = step(sides[0] + x, 0.02) * step(sides[1] - x, 0.02)
    open_y = step(sides[2] + y, 0.02) * step(sides[3] - y, 0.02)
    return np.rint(grey * (open_x * open_y) * np.float32(_LEVELS)).astype(np.uint16) << _SPARE_BITS


def radiographs(spec: PhantomSource, index: np.ndarray) -> np.ndarray:
    """(batch, size, size) uint16 images of the indices `index` (batch,)."""
    patient, _ = patient_of(spec, index)
    person = persons(spec.seed, spec.signal, patient, truth_of(spec, index))
    position = positions(spec.seed, index)
    return expose(attenuation(person, position, spec.size_px), position)


def attenuation(person: Person, position: Position, size: int) -> np.ndarray:
    """(batch, size, size) path on the anatomical canvas: 0 in air, about 1 in the mediastinum."""
    thorax = thorax_of(person, position, *grid(size, FIELD))
    heart = mediastinum.heart(person, position, thorax)
    aerated = thorax.lung * (1 - 0.9 * np.minimum(heart, 1))
    held = 0.17 * parenchyma.vessels(person, size, FIELD)
    held += 0.035 * parenchyma.texture(person, position, size)
    held += 0.34 * parenchyma.tuberculosis(person, thorax, size, FIELD)
    held += 0.10 * parenchyma.imitations(person, position, thorax)
    held += 0.10 * mediastinum.hila(person, thorax)
    path = (0.62 * person.fat) * thorax.body + chest_wall(person, thorax)
    path += aerated * (held - 0.46)
    path += 0.12 * heart + 0.12 * mediastinum.great_vessels(person, position, thorax)
    path -= 0.10 * mediastinum.airways(person, position, thorax)
    path += 0.16 * mediastinum.abdomen(person, position, thorax)
    path += (
        skeleton(person, position, thorax)
        * np.minimum(4 * thorax.body, 1)
        * (0.085 + 0.045 * thorax.lung - 0.06 * heart)
    )
    return path


def landmarks(spec: PhantomSource) -> pl.DataFrame:
    """One row per chest phantom, in the order of `index`: the aortic knob's middle and half width.

    index UInt32; knob_x, knob_y Float64: shares of the image's side from its left and upper edge; knob_radius likewise.
    Raises ValueError for phantoms without a chest.

    >>> landmarks(PhantomSource(kind="phantoms", phantom="chest", images=2)).columns
    ['index', 'knob_x', 'knob_y', 'knob_radius']
    """
    if spec.phantom != "chest":
        raise ValueError(f"phantom: chest, the only kind with landmarks, got {spec.phantom!r}")
    index = np.arange(spec.images)
    patient, _ = patient_of(spec, index)
    position = positions(spec.seed, index)
    person = persons(spec.seed, spec.signal, patient, truth_of(spec, index))
    x, y, radius = (drawn.ravel() for drawn in aortic_knob(person, position))
    seen, magnified = seen_at(np.stack([x, y], axis=1), position)
    return pl.DataFrame(
        {
            "index": pl.Series(index, dtype=pl.UInt32),
            "knob_x": (seen[:, 0] + 1) / 2,
            "knob_y": (seen[:, 1] + 1) / 2,
            "knob_radius": radius * magnified / 2,
        }
    ).cast({"knob_x": pl.Float64, "knob_y": pl.Float64, "knob_radius": pl.Float64})
