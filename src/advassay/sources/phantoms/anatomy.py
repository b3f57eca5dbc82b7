"""Where things are in the phantoms: positions that a finder can be measured against.

A table of its own, because a source's columns are what a study's rules may use, and no archive states positions.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from advassay.sources.phantoms.chest.mediastinum import aortic_knob
from advassay.sources.phantoms.chest.person import persons, positions
from advassay.sources.phantoms.chest.radiograph import seen_at
from advassay.sources.phantoms.truth import patient_of, truth_of
from advassay.spec.source_spec import PhantomSource


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
