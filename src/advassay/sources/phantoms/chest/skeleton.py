"""Ribs, clavicles, scapulae and spine as path lengths of mineral.

A rib is a curve on the surface of the cage: at angle θ from the spine it lies at |x| = cage · sin θ, and falls on
its way round. Behind (θ < 90°) it shows as a posterior arch, before (θ > 90°) as a steeper, fainter anterior
one that ends where the rib turns into cartilage. All ribs of a side are one periodic profile along the
fall, so their number costs nothing.
"""

from __future__ import annotations

import numpy as np

from advassay.sources.phantoms.chest.person import Person, Position
from advassay.sources.phantoms.chest.thorax import Thorax
from advassay.sources.phantoms.raster import bell, dome, step

_FIRST_RIB = -0.80
_LAST_RIB = 0.92


def skeleton(person: Person, position: Position, thorax: Thorax) -> np.ndarray:
    """(batch, height, width) mineral path: about 1 in a posterior rib seen flat on."""
    bones = ribs(person, thorax) + 1.5 * clavicles(person, position, thorax)
    bones += 1.25 * scapulae(person, position, thorax) + 0.55 * spine(person, thorax)
    return bones * person.bone


def ribs(person: Person, thorax: Thorax) -> np.ndarray:
    """Posterior and anterior arches of both sides."""
    d = person.draws
    sine = thorax.across / (thorax.lung_outer + 0.045)
    cosine = np.sqrt(np.maximum(1 - sine * sine, 0))
    to_side = cosine * (0.64 + 0.36 * cosine)  # ≈ (2/π) arccos(sine): 1 at the spine, 0 at the side
    tangent = 1 / np.maximum(cosine, 0.36)  # rays graze the ribs at the side
    spacing = d.normal("rib spacing", 0.130, 0.006)
    fall = d.normal("rib fall", 0.30, 0.03) + 0.05 * (person.aged - 0.5)
    offset = d.normal("rib offset", sd=0.02) + thorax.side * d.normal("rib asymmetry", sd=0.008)
    first = thorax.y - _FIRST_RIB - offset
    at_side = fall * (0.60 + 0.40 * step(thorax.y + 0.5, 0.9))  # upper ribs are flatter
    behind = first - at_side * (1 - to_side * (1.30 - 0.30 * to_side) + 0.22 * sine * to_side)
    before = first - at_side * (1 + 1.25 * to_side)
    posterior = _tube(behind / spacing, 0.215) * step(sine - 0.07, 0.08) * (0.55 + 0.35 * tangent)
    anterior = _tube(before / spacing, 0.25) * step(sine - 0.58, 0.22) * (0.22 + 0.30 * tangent)
    span = step(thorax.y - _FIRST_RIB - 0.02, 0.05) * step(_LAST_RIB - thorax.y, 0.3) * step(1 - sine, 0.04)
    return (posterior + 0.75 * anterior) * span * (1 - 0.55 * step(thorax.y - thorax.dome_y, 0.1))


def _tube(phase: np.ndarray, half: float) -> np.ndarray:
    """Profile across one period: a tube's wall is denser at its edges than in its middle."""
    r = (phase - np.rint(phase)) * np.float32(1 / half)
    square = r * r
    return step(1 - square, 0.55) * (0.72 + 0.42 * square)


def clavicles(person: Person, position: Position, thorax: Thorax) -> np.ndarray:
    """Two S-shaped bars from the sternum to the shoulders; their inner ends shift when the patient is turned."""
    d = person.draws
    from_middle = np.abs(thorax.x - 2.2 * position.obliquity)
    t = np.clip((from_middle - 0.075) / 0.72, 0, 1)
    height = -0.57 + position.draws.normal("clavicle height", sd=0.02) + d.normal("clavicle height", sd=0.025)
    rise = d.normal("clavicle rise", 0.20, 0.03)
    middle = height - rise * t * (1.2 - 0.2 * t) - 0.016 * np.sin(np.float32(2 * np.pi) * t)
    half = 0.030 + 0.012 * bell((t / 0.18) ** 2) - 0.004 * t
    r = (thorax.y - middle) / half
    square = r * r
    ends = step(from_middle - 0.075, 0.03) * step(0.80 - from_middle, 0.05)
    return step(1 - square, 0.6) * (0.85 + 0.4 * square) * ends


def scapulae(person: Person, position: Position, thorax: Thorax) -> np.ndarray:
    """Blades turned outwards: a faint triangle with a denser inner border, the glenoid and the humeral head."""
    d = person.draws
    turned = position.draws.normal("shoulders forward", 0.05, 0.02)
    inner = 0.60 + turned + d.normal("scapula", sd=0.02) + 0.10 * (thorax.y + 0.35)
    from_inner = thorax.across - inner
    length = step(thorax.y + 0.68, 0.12) * step(0.10 - thorax.y, 0.16)
    outer = 0.30 - 0.30 * (thorax.y + 0.55)
    blade = step(from_inner, 0.03) * step(outer - from_inner, 0.08)
    edge = bell(((from_inner - 0.014) / 0.016) ** 2) + 0.8 * bell(((from_inner - outer) / 0.022) ** 2)
    head_x = (thorax.across - 1.0 - turned * 0.5) / 0.15
    head_y = (thorax.y + 0.60) / 0.15
    return length * (0.28 * blade + 0.55 * edge) + 1.1 * dome(head_x * head_x + head_y * head_y)


def spine(person: Person, thorax: Thorax) -> np.ndarray:
    """Vertebral bodies with discs between, pedicles and spinous processes; slightly curved."""
    d = person.draws
    bend = d.normal("scoliosis", sd=0.012) * np.sin(
        2.2 * thorax.y + 6.28 * d.unit("scoliosis phase").astype(np.float32)
    )
    from_middle = np.abs(thorax.x - bend)
    spacing = d.normal("vertebra", 0.108, 0.004)
    phase = (thorax.y / spacing) * (1 - 0.10 * thorax.y)
    phase = phase - np.rint(phase)
    body = step(0.088 + 0.02 * thorax.y - from_middle, 0.03)
    plates = 0.62 + 0.38 * step(0.40 - np.abs(phase), 0.16)
    pedicle = bell(((from_middle - 0.058) / 0.012) ** 2 + ((phase + 0.1) / 0.11) ** 2)
    process = bell((from_middle / 0.010) ** 2 + ((phase - 0.2) / 0.16) ** 2)
    return body * plates + 0.45 * (pedicle + process)
