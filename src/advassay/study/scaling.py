"""The same study at another size, or on phantoms: what `--scale` and `--source phantoms` do."""

from __future__ import annotations

import math
from typing import Any, Literal

from advassay.errors import SpecError
from advassay.specs import CohortSpec, PhantomSource, Study, TrainingSpec

MIN_PER_CLASS = 20
"""Images of a class never scaled below: 80/20 by patient still leaves every class on both sides."""
MIN_PHANTOMS_PER_CLASS = 80
"""Phantoms made per class at least, so that rules which keep a quarter of them still fill the class."""
MIN_AUGMENTED = 2 * MIN_PER_CLASS
"""Size that an augmentation aims at, never scaled below: as many copies as originals."""
MIN_TRAIN_SIZE = 16
MIN_ATTACKED = 8
MIN_CONTROLS = 2


def scaled(study: Study, scale: float) -> Study:
    """The study with its numbers of images multiplied by `scale` (> 0).

    Scaled: per_class, augmentation.to, phantom images, absolute train_sizes, images of the attack, of each arm and of
    the controls. Floors, none of which exceeds the number in the file: 20 images per class (40 with copies), 80
    phantoms per class, 16 training images, 8 attacked images, 2 control images. Updates stay; epochs shrink by
    themselves, and a smaller study scores its tuning part at most once an epoch. Raises SpecError where scale is not
    above 0.
    """
    if not scale > 0 or scale == float("inf"):
        raise SpecError(f"--scale: a number above 0 is needed, got {scale}.", "For example --scale 0.01.")
    if scale == 1.0:
        return study
    cohorts = {name: _scaled_cohort(cohort, scale) for name, cohort in study.cohorts.items()}
    sources = {
        name: _scaled_phantoms(source, scale, _most_classes(study, name))
        if isinstance(source, PhantomSource)
        else source
        for name, source in study.sources.items()
    }
    attack = study.attack.model_copy(
        update={
            "images": _times(study.attack.images, scale, MIN_ATTACKED),
            "control_images": _times(study.attack.control_images, scale, MIN_CONTROLS),
            "arms": {name: _scaled_arm(arm, scale) for name, arm in study.attack.arms.items()},
        }
    )
    training = _scaled_training(study.training, scale)
    return study.model_copy(update={"cohorts": cohorts, "sources": sources, "training": training, "attack": attack})


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
    phantom = cohort.phantom and _scaled_phantoms(cohort.phantom, scale, len(cohort.classes))
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


def _scaled_phantoms(source: PhantomSource, scale: float, classes: int) -> PhantomSource:
    return source.model_copy(update={"images": _times(source.images, scale, MIN_PHANTOMS_PER_CLASS * classes)})


def _scaled_arm(arm: dict[str, Any], scale: float) -> dict[str, Any]:
    return arm | ({"images": _times(arm["images"], scale, MIN_ATTACKED)} if arm.get("images") else {})


def _most_classes(study: Study, source: str) -> int:
    return max((len(cohort.classes) for cohort in study.cohorts.values() if cohort.source == source), default=2)
