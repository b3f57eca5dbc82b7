"""How many phantoms a scaled study needs so that the rules of its cohorts still leave every class its least size."""

from __future__ import annotations

import math
from collections.abc import Mapping

from advassay.errors import CohortError
from advassay.specs import CohortSpec, PhantomSource

MIN_PER_CLASS = 20
"""Images of a class never scaled below: 80/20 by patient still leaves every class on both sides."""
GROWTH = 1.25


def enough_phantoms(source: PhantomSource, images: int, cohorts: Mapping[str, CohortSpec], seed: int) -> int:
    """`images`, or more where the rules of a cohort that reads them would leave a class fewer than MIN_PER_CLASS.

    Each class then also has an image in every part of its cohort's split. At most as many as the source states.
    `cohorts`: name → cohort, all that read the source; `seed` of the study.
    """
    classes = max((len(cohort.classes) for cohort in cohorts.values()), default=2)
    enough = min(source.images, max(images, MIN_PER_CLASS * classes))
    while enough < source.images and not _fill(source, enough, cohorts, seed):
        enough = min(source.images, math.ceil(enough * GROWTH))
    return enough


def _fill(source: PhantomSource, images: int, cohorts: Mapping[str, CohortSpec], seed: int) -> bool:
    """Do so many phantoms fill every class of every cohort?"""
    from advassay.cohorts.metadata import select_by_metadata
    from advassay.sources import open_source

    opened = open_source("phantoms", source.model_copy(update={"images": images}), None)
    try:
        return all(
            _filled(cohort, select_by_metadata(name, cohort, opened, seed).counts()) for name, cohort in cohorts.items()
        )
    except CohortError:  # the rules left a class empty
        return False


def _filled(cohort: CohortSpec, counts: Mapping[str, Mapping[str, int]]) -> bool:
    of_class = {name: [counts[role].get(name, 0) for role in counts] for name in cohort.classes}
    wanted = {role for role in counts if _has_part(cohort, role)}
    everywhere = all(counts[role].get(name, 0) for role in wanted for name in cohort.classes)
    return everywhere and min(map(sum, of_class.values())) >= MIN_PER_CLASS


def _has_part(cohort: CohortSpec, role: str) -> bool:
    """Does the cohort's split deal images to this role?"""
    if cohort.split == "none":
        return role == "validation"
    return role == "training" or (cohort.tuning_fraction if role == "tuning" else cohort.validation_fraction) > 0
