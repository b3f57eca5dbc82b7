"""What tissue a tile shows: malignancy and everything that varies whether or not there is a tumour.

Class signal enters here and nowhere else. Tissue moves the mean of `malignancy` by `signal` × a constant per
organ; organ decides the architecture with probability min(signal, 1), else any organ of the source does. At
signal 0 neither leaves a trace.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from advassay.sources.phantoms.draws import Draws
from advassay.spec.source_spec import PhantomSource

ORGANS = ("ovary", "thyroid", "breast")
TUMOUR_SHIFT = {"ovary": 3.4, "thyroid": 3.8, "breast": 4.2}
"""Distance of the class means of malignancy, in sd between patients."""
_TILE_SPREAD = 0.35
"""Sd between a patient's tiles, in sd between patients."""


@dataclass(frozen=True)
class Tissue:
    """Parameters of each tile; (batch, 1, 1) float32 unless said otherwise."""

    patient: Draws
    tile: Draws
    organ: np.ndarray
    """(batch,) texts: the architecture shown."""
    malignancy: np.ndarray
    """About 0 in normal tissue, about 1 in a tumour; beyond that in extreme patients."""
    size: np.ndarray
    """Nuclear diameter relative to a normal one."""
    crowding: np.ndarray
    """Nuclei per area of epithelium, relative."""
    pleomorphism: np.ndarray
    """Relative sd of nuclear size and shape."""
    chromatin: np.ndarray
    """Coarseness and contrast of chromatin, 0–1."""
    infiltrate: np.ndarray
    """Lymphocytes per field, relative; not a sign of malignancy here."""
    fibrosis: np.ndarray
    """Density of the stroma's fibres, relative."""
    cytoplasm: np.ndarray
    """Density of the epithelium's cytoplasm, relative."""
    uptake: np.ndarray
    """Dye taken up by nuclei, relative."""
    colloid: np.ndarray
    """Density of colloid, relative."""


def tissues(spec: PhantomSource, index: np.ndarray, patient: np.ndarray, truth: dict[str, np.ndarray]) -> Tissue:
    """Parameters of the tiles `index` of `patient` (batch,), whose truth columns are `truth`."""
    p, t = Draws(spec.seed, "patient", patient), Draws(spec.seed, "image", index)
    tumour = np.where(truth["tissue"] == "tumour", 0.5, -0.5)
    shift = np.array([TUMOUR_SHIFT[organ] for organ in truth["organ"]])
    mean = (spec.signal * tumour * shift).astype(np.float32)[:, None, None]
    z = mean + p.normal("malignancy") + t.normal("malignancy", sd=_TILE_SPREAD)
    malignancy = np.clip(0.5 + z / 4, -0.25, 1.4)
    m = np.clip(malignancy, 0, 1.2)
    return Tissue(
        patient=p,
        tile=t,
        organ=_shown_organ(spec, p, truth["organ"]),
        malignancy=malignancy,
        size=np.clip(0.92 + 0.62 * m + p.normal("nuclear size", sd=0.09), 0.75, 2.0),
        crowding=np.exp(p.normal("crowding", sd=0.24) + t.normal("crowding", sd=0.12)),
        pleomorphism=np.clip(0.09 + 0.22 * m + p.normal("pleomorphism", sd=0.04), 0.05, 0.45),
        chromatin=np.clip(0.2 + 0.7 * m + p.normal("chromatin", sd=0.15), 0.05, 1.0),
        infiltrate=np.exp(p.normal("infiltrate", -0.4, 0.9) + t.normal("infiltrate", sd=0.6)),
        fibrosis=np.exp(p.normal("fibrosis", sd=0.25) + t.normal("fibrosis", sd=0.15)),
        cytoplasm=np.exp(p.normal("cytoplasm", sd=0.3) + t.normal("cytoplasm", sd=0.1)),
        uptake=np.exp(p.normal("uptake", sd=0.14) + t.normal("uptake", sd=0.06)),
        colloid=np.exp(p.normal("colloid", sd=0.25) + t.normal("colloid", sd=0.2)),
    )


def _shown_organ(spec: PhantomSource, patient: Draws, organ: np.ndarray) -> np.ndarray:
    any_organ = np.array(spec.organs)[(patient.unit("any organ").ravel() * len(spec.organs)).astype(np.int64)]
    return np.where(patient.unit("own organ").ravel() < spec.signal, organ, any_organ)
