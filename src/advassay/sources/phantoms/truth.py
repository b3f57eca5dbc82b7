"""The truth table: which image is whose, and what is the case with that patient.

Patients follow one another; a patient's images are neighbours. The first rows of a larger table are the
rows of a smaller one with the same seed. Findings come from additive recurrences frac(u + p·α) (α
irrational), so that every share is met within about 1/n in every run of n patients.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from advassay.sources.phantoms.draws import Draws
from advassay.spec.source_spec import PhantomSource

_ALPHA = {"sex": 0.7548776662466927, "tuberculosis": 0.5698402909980532, "aortic_rotation": 0.6180339887498949}
TILES_PER_SLIDE = 4
IMAGE_TYPE = {"chest": "X-ray", "histology": "histology"}


def table(spec: PhantomSource) -> pl.DataFrame:
    """One row per image, in the order of `index` = 0 … images − 1.

    All kinds: index UInt32, patient ("phantom-000123", an original id), image_type.
    Chest: age (Float64, whole years), sex (F | M), view (PA), tuberculosis, aortic_rotation, norm (present | absent;
    norm is present where neither finding is). Findings, age and sex are independent of one another.
    Histology: organ, tissue (tumour | normal), slide_id. A tumour patient has tumour tiles only.

    >>> table(PhantomSource(kind="phantoms", phantom="chest", images=3))["index"].to_list()
    [0, 1, 2]
    """
    index = np.arange(spec.images)
    frame = pl.DataFrame(
        {
            "index": pl.Series(index, dtype=pl.UInt32),
            "patient": [f"phantom-{number:06d}" for number in patient_of(spec, index)[0]],
            "image_type": [IMAGE_TYPE[spec.phantom]] * spec.images,
        }
    )
    return frame.hstack([pl.Series(name, values) for name, values in truth_of(spec, index).items()])


def truth_of(spec: PhantomSource, index: np.ndarray) -> dict[str, np.ndarray]:
    """Truth columns of the images `index`, each (n,)."""
    patient, place = patient_of(spec, index)
    return chest_truth(spec, patient) if spec.phantom == "chest" else histology_truth(spec, patient, place)


def patient_of(spec: PhantomSource, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Patient number of each image and its place among the patient's images, both (n,) int64.

    A patient has between 1 and 2 · images_per_patient images (the last one possibly fewer).
    """
    first = _first_images(spec)
    patient = np.searchsorted(first, index, side="right") - 1
    return patient, index - first[patient]


def _first_images(spec: PhantomSource) -> np.ndarray:
    """First image of every patient: evenly spaced, moved by up to half of what leaves each patient one image."""
    mean = spec.images_per_patient
    patient = np.arange(int(spec.images / mean) + 2)
    moved = (mean - 1) * (Draws(spec.seed, "patient", patient).unit("first image").ravel() - 0.5)
    first = np.floor(patient * mean + np.where(patient == 0, 0.0, moved) + 0.5).astype(np.int64)
    return first[first < spec.images]


def chest_truth(spec: PhantomSource, patient: np.ndarray) -> dict[str, np.ndarray]:
    """Truth columns of chest patients, each (n,)."""
    low, high = spec.ages
    age = np.floor(low + (high - low) * Draws(spec.seed, "patient", patient).unit("age").ravel() + 0.5)
    finding = {
        name: _share(spec.seed, name, patient) < spec.prevalence.get(name, 0.0)
        for name in ("tuberculosis", "aortic_rotation")
    }
    norm = ~(finding["tuberculosis"] | finding["aortic_rotation"])
    return {
        "age": np.clip(age, low, high),
        "sex": np.where(_share(spec.seed, "sex", patient) < 0.5, "F", "M"),
        "view": np.full(len(patient), "PA"),
        **{name: _present(value) for name, value in finding.items()},
        "norm": _present(norm),
    }


def histology_truth(spec: PhantomSource, patient: np.ndarray, place: np.ndarray) -> dict[str, np.ndarray]:
    """Truth columns of histology patients' tiles, each (n,). Of each organ, one of any two neighbours has a tumour."""
    organs: Sequence[str] = spec.organs
    organ = np.array(organs)[patient % len(organs)]
    pair, member = np.divmod(patient // len(organs), 2)
    first_is_tumour = Draws(spec.seed, "pair of patients", pair * len(organs) + patient % len(organs)).unit("tumour")
    tumour = (first_is_tumour.ravel() < 0.5) == (member == 0)
    return {
        "organ": organ,
        "tissue": np.where(tumour, "tumour", "normal"),
        "slide_id": np.array([f"slide-{p:06d}-{s}" for p, s in zip(patient, place // TILES_PER_SLIDE, strict=True)]),
    }


def _share(seed: int, name: str, patient: np.ndarray) -> np.ndarray:
    """(n,) in [0, 1), evenly filled by any run of patients."""
    start = Draws(seed, "source", np.zeros(1)).unit(name).item()
    return (start + patient * _ALPHA[name]) % 1.0


def _present(value: np.ndarray) -> np.ndarray:
    return np.where(value, "present", "absent")
