"""Heart, aorta, great vessels, trachea and hila: the shadow in the middle.

Ageing and the finding *aortic rotation* unfold the aorta: the knob grows, rises and moves outwards, the
descending part runs further left, the ascending part bulges to the right.
"""

from __future__ import annotations

import numpy as np

from advassay.sources.phantoms.chest.chest_wall import Thorax
from advassay.sources.phantoms.chest.person import Person, Position
from advassay.sources.phantoms.raster import bell, dome, step


def heart(person: Person, position: Position, thorax: Thorax) -> np.ndarray:
    """Path through the heart, 1 at its thickest. Its width is the cardiothoracic ratio times the thorax' width."""
    d = person.draws
    width = 2 * 0.735 * person.cage * person.heart * (1 - 1.2 * position.inspiration)
    share = d.normal("heart to the right", 0.30, 0.02)
    left, right = width * (1 - share) + position.obliquity, width * share - position.obliquity
    low = 0.24 + 0.8 * position.inspiration
    long, short = 0.47 * width, 0.31 * width
    tilt = d.normal("heart tilt", 0.72, 0.07)
    cosine, sine = np.cos(tilt), np.sin(tilt)
    reach = np.sqrt((long * cosine) ** 2 + (short * sine) ** 2)  # half width of the tilted ellipse
    dx, dy = thorax.x - (left - reach), thorax.y - low - 0.02
    ventricle = _plump((dx * cosine + dy * sine) / long, (dy * cosine - dx * sine) / short)
    atrium = _plump((thorax.x + right - 0.22) / 0.22, (thorax.y - low + 0.01) / 0.30)
    base = _plump((thorax.x - 0.02 - 0.09 * width) / (0.27 * width), (thorax.y + 0.02) / 0.30)
    return np.maximum(np.maximum(ventricle, 0.92 * atrium), 0.88 * base)


def _plump(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Path through an ellipsoid with a flat top and a distinct edge, at normalised coordinates a, b."""
    return np.sqrt(dome(a * a + b * b))


def great_vessels(person: Person, position: Position, thorax: Thorax) -> np.ndarray:
    """Path through superior vena cava, aorta and pulmonary trunk beside the spine."""
    d = person.draws
    x, y = thorax.x, thorax.y
    shift = 0.6 * position.obliquity
    upper = step(y + 0.80, 0.3) * step(0.35 - y, 0.4)
    cava = step(0.115 + d.normal("cava", sd=0.012) + x - shift, 0.04) * step(0.02 - x, 0.08)
    left = step(0.10 + d.normal("subclavian", sd=0.01) - x + shift, 0.05) * step(x + 0.02, 0.08)
    trunk_x, trunk_y = (x - 0.115 - shift) / 0.075, (y + 0.13) / 0.10
    trunk = dome(trunk_x * trunk_x + trunk_y * trunk_y)
    return 0.55 * upper * (cava + left) + 0.45 * trunk + aorta(person, position, thorax)


def aorta(person: Person, position: Position, thorax: Thorax) -> np.ndarray:
    """Ascending part, knob (its wall sometimes calcified with age) and descending part."""
    d = person.draws
    x, y = thorax.x, thorax.y
    kx, ky, radius = aortic_knob(person, position)
    open_ = _unfolding(person)
    dx, dy = (x - kx) / radius, (y - ky) / (1.12 * radius)
    r2 = dx * dx + dy * dy
    knob = np.sqrt(dome(r2))
    chalk = np.maximum(person.aged - 0.55 + d.normal("calcification", sd=0.2), 0)
    rim = bell((r2 - 0.78) ** 2 / 0.02) * step(dx + 0.1, 0.4)
    out = 0.06 * np.maximum(open_ + 0.5, 0) * bell(((y - 0.05) / 0.26) ** 2)
    middle = kx + 0.01 + out * 0.7
    descending = step(0.055 - np.abs(x - middle), 0.05) * step(y - ky, 0.15) * step(0.75 - y, 0.5)
    bulge = 0.12 + 0.032 * np.maximum(open_ + 0.5, 0)
    ax, ay = (x + bulge - 0.09) / 0.09, (y + 0.17) / 0.20
    return 0.8 * knob + 0.5 * chalk * rim + 0.45 * descending + 0.55 * _plump(ax, ay)


def aortic_knob(person: Person, position: Position) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x and y of the knob's middle and half its width (half its height is 1.12 times that), on the canvas."""
    d = person.draws
    open_ = _unfolding(person)
    radius = np.clip(0.080 + 0.016 * open_ + 0.012 * (person.aged - 0.5) + d.normal("knob", sd=0.008), 0.05, 0.17)
    x = 0.085 + 0.026 * open_ + 0.8 * position.obliquity + d.normal("knob x", sd=0.012)
    y = -0.315 - 0.014 * open_ + d.normal("knob y", sd=0.025)
    return x, y, radius


def _unfolding(person: Person) -> np.ndarray:
    return np.clip(person.unfolding, -1.5, 4.5)


def airways(person: Person, position: Position, thorax: Thorax) -> np.ndarray:
    """Air in the trachea and the main bronchi; the trachea gives way to an unfolded aorta."""
    d = person.draws
    x, y = thorax.x, thorax.y
    carina = -0.22 + d.normal("carina", sd=0.02)
    push = 0.016 * np.clip(person.unfolding, 0, 4) * bell(((y + 0.32) / 0.12) ** 2)
    trachea = step(0.040 - np.abs(x + push - 0.7 * position.obliquity), 0.022) * step(carina - y, 0.06)
    down = y - carina
    right = step(0.030 - np.abs(x + 0.03 + 0.62 * down), 0.03) * step(0.17 - down, 0.08)
    left = step(0.026 - np.abs(x - 0.03 - 1.05 * down), 0.03) * step(0.15 - down, 0.08)
    return trachea + 0.7 * np.maximum(right, left) * step(down + 0.02, 0.05)


def hila(person: Person, thorax: Thorax) -> np.ndarray:
    """Soft density where the vessels enter the lungs; the left hilum a little higher."""
    d = person.draws
    size = d.normal("hilum", 1.0, 0.12)
    dx = (thorax.across - 0.15) / (0.055 * size)
    dy = (thorax.y + 0.05 + 0.035 * thorax.side - d.normal("hilum y", sd=0.015)) / (0.085 * size)
    return bell(dx * dx + dy * dy)


def abdomen(person: Person, position: Position, thorax: Thorax) -> np.ndarray:
    """Liver and spleen below the domes, with gas in the stomach under the left one."""
    d, e = person.draws, position.draws
    below = step(thorax.y - thorax.dome_y, 0.03) * step(thorax.body_half - 0.06 - thorax.across, 0.08)
    gx = (thorax.x - e.normal("gas x", 0.34, 0.03)) / np.clip(e.normal("gas width", 0.12, 0.04), 0.03, 0.2)
    gy = (thorax.y - thorax.dome_y - 0.09) / 0.055
    gas = dome(gx * gx + gy * gy) * d.uniform("gas", 0.1, 1.0)
    return below * (1 - 1.3 * gas)
