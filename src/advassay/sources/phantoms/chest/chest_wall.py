"""Body wall, lungs and diaphragm, the outlines everything else refers to; ribs, clavicles, scapulae, spine."""

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
