"""What the lungs hold: branching vessels, fine texture, and the marks of tuberculosis with their imitations."""

from __future__ import annotations

import numpy as np

from advassay.sources.phantoms.chest.chest_wall import Thorax
from advassay.sources.phantoms.chest.person import Person, Position
from advassay.sources.phantoms.raster import DRAWING_PX, bell, clouds, fill, resample, step, strokes

_ROOTS = np.radians([-78, -50, -22, 8, 32, 55, 78])
_GENERATIONS = 4
_FOCI = 3
_NODULES = 26


def vessels(person: Person, size: int, half_width: float) -> np.ndarray:
    """(batch, size, size) vessels of both lungs, about 1 in the thickest near the hilum."""
    canvas = np.zeros((max(size, DRAWING_PX),) * 2, np.uint8)
    layers = []
    for rng in person.draws.generators("vessels"):
        canvas[:] = 0
        corners, values = _tree(rng)
        fill(canvas, corners, values, half_width)
        layers.append(resample(canvas, size))
    return np.stack(layers).astype(np.float32) * np.float32(1 / 255)


def _tree(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Strokes of a tree that forks `_GENERATIONS` times; thinner and fainter outwards, drawn last to first."""
    n = len(_ROOTS)
    side = np.repeat([-1.0, 1.0], n)
    angle = np.tile(_ROOTS, 2) + rng.normal(0, 0.10, 2 * n)
    tip = np.stack([side * 0.125, np.where(side > 0, -0.075, -0.04) + 0.05 * np.sin(angle)], axis=1)
    width = rng.uniform(0.024, 0.036, 2 * n)
    reach = rng.uniform(0.13, 0.18, 2 * n)
    shapes, values = [], []
    for _ in range(_GENERATIONS):
        end = tip + reach[:, None] * np.stack([side * np.cos(angle), np.sin(angle)], axis=1)
        thinner = 0.72 * width
        shapes.append(strokes(tip, end, width, thinner))
        values.append(np.clip(255 * (0.12 + 24 * width), 0, 255).astype(np.uint8))
        fork = rng.uniform(0.15, 0.55, len(angle))
        tip, side = np.tile(end, (2, 1)), np.tile(side, 2)
        angle = np.concatenate([angle + fork * 0.8, angle - fork]) + rng.normal(0, 0.08, 2 * len(fork))
        width = np.concatenate([thinner, 0.8 * thinner])
        reach = np.tile(reach, 2) * rng.uniform(0.65, 1.0, 2 * len(fork))
    return np.concatenate(shapes[::-1]), np.concatenate(values[::-1])


def texture(person: Person, position: Position, size: int) -> np.ndarray:
    """(batch, size, size) fine markings; coarser and stronger with age and, independently, from patient to patient."""
    d = person.draws
    amount = np.clip(0.6 + 1.1 * (person.aged - 0.5) + d.normal("markings", sd=0.2), 0.1, 1.8)
    fine = np.abs(clouds(d.generators("reticulation"), size, 42))
    broad = clouds(d.generators("perfusion"), size, 7)
    return amount * (0.5 - fine) + 0.35 * broad


def tuberculosis(person: Person, thorax: Thorax, size: int, half_width: float) -> np.ndarray:
    """Patchy infiltrates (one may hold a cavity), nodules and fibrous bands, mostly in the upper lobes."""
    d = person.draws
    patches = np.zeros_like(thorax.lung)
    mottle = clouds(d.generators("mottle"), size, 20)
    ragged, dense = 0.3 * mottle, np.maximum(0.6 + 0.7 * mottle, 0)
    first_side = np.where(d.unit("first side") < 0.55, -1, 1)  # right somewhat more often
    for k in range(_FOCI):
        fx = first_side * (1 if k % 2 == 0 else -1) * d.uniform(f"focus {k} x", 0.22, 0.48)
        fy = d.uniform(f"focus {k} y", -0.60, -0.28 if k < 2 else 0.0)
        radius = d.uniform(f"focus {k} radius", 0.10, 0.17)
        strength = np.clip(person.load - 0.4 * k + d.normal(f"focus {k}", sd=0.3), 0, 2.5)
        dx, dy = (thorax.x - fx) / radius, (thorax.y - fy) / radius
        dx *= dx
        dy *= dy
        r2 = dx + dy
        r2 += ragged
        patch = strength * bell(r2)
        patch *= dense
        patches += patch
        if k == 0:
            patches += _cavity(person, r2, strength)
    return 0.85 * patches / (1 + 0.35 * np.maximum(patches, 0)) + 0.42 * _marks(person, size, half_width)


def _cavity(person: Person, r2: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """A wall around an air-filled hole in the first focus, in some patients with a high load."""
    d = person.draws
    has = (d.unit("cavity") < 0.5) * strength
    inner = d.uniform("cavity size", 0.25, 0.6)
    return has * (0.3 * bell((r2 - 1.5 * inner) ** 2 / (0.10 * inner)) - 0.6 * step(inner - r2, 0.35))


def _marks(person: Person, size: int, half_width: float) -> np.ndarray:
    """Nodules and bands, drawn as polygons: each appears once the patient's load passes its own threshold."""
    canvas = np.zeros((max(size, DRAWING_PX),) * 2, np.uint8)
    layers = []
    for rng, load in zip(person.draws.generators("marks"), person.load.ravel().tolist(), strict=True):
        canvas[:] = 0
        fill(canvas, *_bands(rng, load), half_width)
        fill(canvas, *_nodules(rng, load), half_width)
        layers.append(resample(canvas, size))
    return np.stack(layers).astype(np.float32) * np.float32(1 / 255)


def _visible(load: float, threshold: np.ndarray) -> np.ndarray:
    return (255 * np.clip(0.55 * (load - threshold), 0, 0.9)).astype(np.uint8)


def _nodules(rng: np.random.Generator, load: float) -> tuple[np.ndarray, np.ndarray]:
    side = np.where(rng.random(_NODULES) < rng.uniform(0.2, 0.8), -1.0, 1.0)
    centre = np.stack([side * rng.uniform(0.17, 0.55, _NODULES), rng.triangular(-0.65, -0.55, 0.15, _NODULES)], axis=1)
    radius = rng.uniform(0.008, 0.022, _NODULES)
    values = _visible(load, rng.normal(1.1, 1.0, _NODULES))
    turn = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    seen = values > 0
    return (centre[:, None] + radius[:, None, None] * circle)[seen], values[seen]


def _bands(rng: np.random.Generator, load: float) -> tuple[np.ndarray, np.ndarray]:
    """Strands from the hilum towards the apex."""
    n = 5
    side = np.where(rng.random(n) < 0.5, -1.0, 1.0)
    start = np.stack([side * rng.uniform(0.15, 0.34, n), rng.uniform(-0.38, -0.1, n)], axis=1)
    end = np.stack([side * rng.uniform(0.22, 0.5, n), rng.uniform(-0.68, -0.4, n)], axis=1)
    width = rng.uniform(0.006, 0.013, n)
    values = _visible(0.8 * load, rng.normal(0.9, 0.7, n))
    seen = values > 0
    return strokes(start, end, width, 0.7 * width)[seen], values[seen]


def imitations(person: Person, position: Position, thorax: Thorax) -> np.ndarray:
    """Patches that mean nothing: dust, summation, plate atelectasis; in any zone, in any patient and exposure."""
    total = np.zeros_like(thorax.lung)
    for draws, name, low, high in (
        (person.draws, "old scar", -0.6, 0.35),
        (position.draws, "summation", -0.6, 0.4),
        (position.draws, "atelectasis", 0.1, 0.42),
    ):
        px = np.where(draws.unit(f"{name} side") < 0.5, -1, 1) * draws.uniform(f"{name} x", 0.2, 0.6)
        py = draws.uniform(f"{name} y", low, high)
        wide, tall = draws.uniform(f"{name} width", 0.05, 0.14), draws.uniform(f"{name} height", 0.03, 0.12)
        strength = np.maximum(draws.normal(name, 0.0, 0.45), 0)
        dx, dy = (thorax.x - px) / wide, (thorax.y - py) / tall
        total = total + strength * bell(dx * dx + dy * dy)
    return total
