"""A batch of radiographs: anatomy → attenuation path → detector."""

from __future__ import annotations

import numpy as np

from advassay.sources.phantoms.chest import mediastinum, parenchyma
from advassay.sources.phantoms.chest.detector import FIELD, expose
from advassay.sources.phantoms.chest.person import Person, Position, persons, positions
from advassay.sources.phantoms.chest.skeleton import skeleton
from advassay.sources.phantoms.chest.thorax import chest_wall, thorax_of
from advassay.sources.phantoms.raster import grid
from advassay.sources.phantoms.truth import patient_of, truth_of
from advassay.specs import PhantomSource


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
