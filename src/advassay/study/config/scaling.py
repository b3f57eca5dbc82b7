"""The same study at another size, or on phantoms: what `--scale` and `--source phantoms` do."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from advassay.errors import AdvassayWarning, CohortError, SpecError
from advassay.spec.cohort_spec import CohortSpec
from advassay.spec.source_spec import PhantomSource
from advassay.spec.study_spec import Study, TrainingSpec

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
    from advassay.cohorts.selection import select_by_metadata
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
    if cohort.split == "tuning":
        return role == "validation" or (role == "tuning" and cohort.tuning_fraction > 0)
    return role == "training" or (cohort.tuning_fraction if role == "tuning" else cohort.validation_fraction) > 0


MIN_AUGMENTED = 2 * MIN_PER_CLASS
"""Size that an augmentation aims at, never scaled below: as many copies as originals."""
MIN_TRAIN_SIZE = 16
MIN_ATTACKED = 8
MIN_CONTROLS = 2


def scaled(study: Study, scale: float) -> Study:
    """The study with its numbers of images multiplied by `scale` (> 0).

    Scaled: per_class, augmentation.to, phantom images, absolute train_sizes, images of the attack, of each arm, of the
    controls and of range-finding. Floors, none of which exceeds the number in the file, the same for every cohort: 20
    images of each class (40 with copies), for which as many phantoms are made as its rules need; 16 training images, 8
    attacked images (doubled ones and those of range-finding too), 2 control images. A warning names the cohorts that
    stay larger so. Updates stay; epochs shrink by themselves, and a smaller study scores its tuning part at most once
    an epoch. Raises SpecError where scale is not above 0.
    """
    if not scale > 0 or scale == float("inf"):
        raise SpecError(f"--scale: expected a number above 0, got {scale}.", "For example --scale 0.01.")
    if scale == 1.0:
        return study
    cohorts = {name: _scaled_cohort(cohort, scale) for name, cohort in study.cohorts.items()}
    sources = {
        name: _scaled_source(source, scale, _readers(cohorts, name), study.seed)
        if isinstance(source, PhantomSource)
        else source
        for name, source in study.sources.items()
    }
    attack = study.attack.model_copy(
        update={
            "images": _times(study.attack.images, scale, MIN_ATTACKED),
            "control_images": _times(study.attack.control_images, scale, MIN_CONTROLS),
            "doubling_images": _times(study.attack.doubling_images, scale, MIN_ATTACKED),
            "range_images": _times(study.attack.range_images, scale, MIN_ATTACKED),
            "arms": {name: _scaled_arm(arm, scale) for name, arm in study.attack.arms.items()},
        }
    )
    training = _scaled_training(study.training, scale)
    small = study.model_copy(update={"cohorts": cohorts, "sources": sources, "training": training, "attack": attack})
    _tell_floors(study, small, scale)
    return small


def _tell_floors(study: Study, small: Study, scale: float) -> None:
    """Warn of cohorts that a floor keeps larger than asked for."""
    held = [
        name
        for name, cohort in study.cohorts.items()
        if any(scale * before + 0.5 < after for before, after in _sizes(study, small, name, cohort))
    ]
    if held:
        warnings.warn(
            f"--scale {scale:g}: every class keeps at least {MIN_PER_CLASS} images, so that each part of the split has "
            f"some of it; larger than asked for: {', '.join(held)}.",
            AdvassayWarning,
            stacklevel=4,
        )


def _sizes(study: Study, small: Study, name: str, cohort: CohortSpec) -> Iterator[tuple[int, int]]:
    """Numbers of images that say how large a cohort is, as stated and as scaled."""
    after = small.cohorts[name].per_class
    if isinstance(cohort.per_class, dict) and isinstance(after, dict):
        yield from ((number, after[class_]) for class_, number in cohort.per_class.items())
    elif isinstance(cohort.per_class, int) and isinstance(after, int):
        yield cohort.per_class, after
    source, scaled_source = study.sources[cohort.source], small.sources[cohort.source]
    if isinstance(source, PhantomSource) and isinstance(scaled_source, PhantomSource):
        yield source.images, scaled_source.images


def on_phantoms(study: Study) -> Study:
    """The study with each cohort's `phantom` block as its source.

    A cohort that already reads phantoms stays as it is. What belongs to the replaced source goes with it: its
    patient column, and a split declared by it becomes a split by patient.
    Raises SpecError naming the cohorts that have no `phantom` block.
    """
    lacking = [
        name for name, cohort in study.cohorts.items() if cohort.phantom is None and not _is_phantom(study, cohort)
    ]
    if lacking:
        raise SpecError(
            f"--source phantoms: each cohort needs a `phantom` block, missing in {', '.join(lacking)}.",
            "Add e.g. `phantom: {kind: phantoms, phantom: chest}` to the cohort, or leave the option out.",
        )
    sources: dict[str, Any] = {}
    cohorts = {}
    for name, cohort in study.cohorts.items():
        if cohort.phantom is None:
            sources[cohort.source] = study.sources[cohort.source]
            cohorts[name] = cohort
            continue
        key = next((key for key, source in sources.items() if source == cohort.phantom), f"phantoms-{name}")
        sources[key] = cohort.phantom
        split = "patient" if cohort.split == "declared" else cohort.split
        cohorts[name] = cohort.model_copy(
            update={"source": key, "patient_id": None, "split": split, "scaling": _without_voi(cohort.scaling)}
        )
    return study.model_copy(update={"sources": sources, "cohorts": cohorts})


def _without_voi(scaling: Literal["full-range", "percentile", "voi"]) -> Literal["full-range", "percentile", "voi"]:
    """Phantoms have no VOI window: they are made as a viewer would show them."""
    return "full-range" if scaling == "voi" else scaling


def _is_phantom(study: Study, cohort: CohortSpec) -> bool:
    return isinstance(study.sources[cohort.source], PhantomSource)


def _times(number: int | None, scale: float, floor: int) -> int | None:
    if number is None:
        return None
    return max(int(number * scale + 0.5), min(number, floor))


def _scaled_cohort(cohort: CohortSpec, scale: float) -> CohortSpec:
    per_class: Any = cohort.per_class
    if isinstance(per_class, dict):
        per_class = {name: _times(number, scale, MIN_PER_CLASS) for name, number in per_class.items()}
    else:
        per_class = _times(per_class, scale, MIN_PER_CLASS)
    sizes = tuple(_times(size, scale, MIN_TRAIN_SIZE) if isinstance(size, int) else size for size in cohort.train_sizes)
    phantom = cohort.phantom and _scaled_phantoms(cohort.phantom, scale, MIN_PER_CLASS * len(cohort.classes))
    augmentation = cohort.augmentation
    if augmentation is not None:
        augmentation = augmentation.model_copy(update={"to": _times(augmentation.to, scale, MIN_AUGMENTED)})
    changes = {
        "per_class": per_class,
        "augmentation": augmentation,
        "train_sizes": tuple(dict.fromkeys(sizes)),
        "phantom": phantom,
    }
    return cohort.model_copy(update=changes)


def _scaled_training(training: TrainingSpec, scale: float) -> TrainingSpec:
    """An epoch of a small study is a few updates: scoring after each would cost more than they do."""
    if scale >= 1 or training.epochs is None:
        return training
    return training.model_copy(update={"evaluations": min(training.evaluations, math.ceil(training.epochs))})


def _scaled_source(source: PhantomSource, scale: float, cohorts: Mapping[str, CohortSpec], seed: int) -> PhantomSource:
    """The source with as many phantoms as the scale says, or as the scaled cohorts that read it need."""
    if scale >= 1:
        return _scaled_phantoms(source, scale, 1)
    enough = enough_phantoms(source, int(source.images * scale + 0.5), cohorts, seed)
    return source.model_copy(update={"images": enough})


def _scaled_phantoms(source: PhantomSource, scale: float, floor: int) -> PhantomSource:
    return source.model_copy(update={"images": _times(source.images, scale, floor)})


def _scaled_arm(arm: dict[str, Any], scale: float) -> dict[str, Any]:
    return arm | ({"images": _times(arm["images"], scale, MIN_ATTACKED)} if arm.get("images") else {})


def _readers(cohorts: Mapping[str, CohortSpec], source: str) -> dict[str, CohortSpec]:
    """The cohorts that read a source."""
    return {name: cohort for name, cohort in cohorts.items() if cohort.source == source}
