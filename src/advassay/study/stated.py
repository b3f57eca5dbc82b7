"""How many images a study itself says a cohort has: what a plan goes by where the source is elsewhere."""

from __future__ import annotations

from collections.abc import Mapping

from advassay.specs import CohortSpec

ROLES = ("training", "tuning", "validation")


def stated_images(spec: CohortSpec) -> dict[str, int] | None:
    """Class → images, from per_class, else the published number in equal shares; None where the study says nothing."""
    if isinstance(spec.per_class, dict):
        return dict(spec.per_class) if spec.per_class.keys() == spec.classes.keys() else None
    if spec.per_class is not None:
        return dict.fromkeys(spec.classes, spec.per_class)
    if spec.published is None:
        return None
    each, more = divmod(spec.published.images, len(spec.classes))
    return {name: each + (place < more) for place, name in enumerate(spec.classes)}


def stated_roles(spec: CohortSpec, classes: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Role → class → images, `classes` dealt by the cohort's shares."""
    if spec.split == "none":
        return {"training": dict.fromkeys(classes, 0), "tuning": dict.fromkeys(classes, 0), "validation": dict(classes)}
    dealt = {name: _dealt(spec, images) for name, images in classes.items()}
    return {role: {name: sides[role] for name, sides in dealt.items()} for role in ROLES}


def with_copies(spec: CohortSpec, roles: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Role → images, with the copies that an augmentation adds.

    >>> spec = CohortSpec.model_validate(
    ...     {"source": "s", "classes": {"a": {"x": 1}, "b": {"x": 2}}, "augmentation": {"class": "a", "to": 100}}
    ... )
    >>> with_copies(spec, stated_roles(spec, {"a": 10, "b": 100}))
    {'training': 144, 'tuning': 9, 'validation': 22}
    """
    images = {role: sum(classes.values()) for role, classes in roles.items()}
    if spec.augmentation is None:
        return images
    have = {role: classes.get(spec.augmentation.class_, 0) for role, classes in roles.items()}
    wanted = _dealt(spec, spec.augmentation.to)
    sides = ("training",) if spec.augmentation.sides == "training" else ROLES
    lacking = {role: max(0, wanted[role] - have[role]) if role in sides and have[role] else 0 for role in ROLES}
    return {role: images[role] + lacking[role] for role in ROLES}


def _dealt(spec: CohortSpec, images: int) -> dict[str, int]:
    validation = round(images * spec.validation_fraction)
    tuning = round((images - validation) * spec.tuning_fraction)
    return {"training": images - validation - tuning, "tuning": tuning, "validation": validation}
