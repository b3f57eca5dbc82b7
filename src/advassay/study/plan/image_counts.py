"""How many images a cohort will have, without decoding one; what follows for warnings and for power."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advassay.errors import AdvassayWarning, CohortError, SourceError, SpecError
from advassay.spec.attack_spec import Arm
from advassay.spec.cohort_spec import CohortSpec
from advassay.spec.study_spec import Study
from advassay.study.environment import RunEnvironment
from advassay.study.run.prepare_stage import is_prepared_as_asked, of_cohort

if TYPE_CHECKING:
    from advassay.cohorts.selection import Selection
    from advassay.sources import OpenSource


ROLES = ("training", "tuning", "validation")


def declared_images(spec: CohortSpec) -> dict[str, int] | None:
    """Class → images, from per_class, else the published number in equal shares; None where the study says nothing."""
    if isinstance(spec.per_class, dict):
        return dict(spec.per_class) if spec.per_class.keys() == spec.classes.keys() else None
    if spec.per_class is not None:
        return dict.fromkeys(spec.classes, spec.per_class)
    if spec.published is None:
        return None
    each, more = divmod(spec.published.images, len(spec.classes))
    return {name: each + (place < more) for place, name in enumerate(spec.classes)}


def declared_roles(spec: CohortSpec, classes: Mapping[str, int]) -> dict[str, dict[str, int]]:
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
    >>> with_copies(spec, declared_roles(spec, {"a": 10, "b": 100}))
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
    if spec.split == "tuning":
        tuning = round(images * spec.tuning_fraction)
        return {"training": 0, "tuning": tuning, "validation": images - tuning}
    validation = round(images * spec.validation_fraction)
    tuning = round((images - validation) * spec.tuning_fraction)
    return {"training": images - validation - tuning, "tuning": tuning, "validation": validation}


def selection_warnings(spec: CohortSpec, size_px: int, opened: OpenSource, selected: Selection) -> Iterator[str]:
    """What rules, counts and files of one cohort say. Raises SourceError where none of its files exists."""
    from advassay.cohorts.cohort_warnings import enlarged_warning
    from advassay.sources.file_paths import require_files
    from advassay.sources.image_sample import declared_sizes

    yield from selected.flow.warnings
    rows = selected.frame["row"]
    lost = require_files(opened, rows)
    if lost is not None:
        yield f"{lost.count:,} of {lost.files:,} image files are missing; the first missing one is {lost.first}."
    if spec.region is None and (sizes := declared_sizes(opened, rows)):
        heights, widths = zip(*sizes, strict=True)
        if (told := enlarged_warning(heights, widths, size_px)) is not None:
            yield told


def network_warnings(study: Study) -> dict[str, str]:
    """Cohort → a sentence about pixels its network never sees, of each cohort with such pixels."""
    from advassay.models.timm_networks import unseen_pixels

    architecture = study.training.architecture
    told = {}
    for name in study.cohorts:
        size = study.size_of(name)
        if (unseen := unseen_pixels(architecture, size)) is None:
            continue
        sides = " or ".join(str(side) for side in unseen.seen_whole)
        told[name] = (
            f"{architecture} never sees {unseen.rows} rows and {unseen.columns} columns at the edges of {size} px "
            f"images: its strides leave them over." + (f" image_size_px: {sides} has none." if sides else "")
        )
    return told


@dataclass(frozen=True)
class ImageCounts:
    """A cohort's numbers of images, and where they come from."""

    training: int
    tuning: int
    validation: int
    basis: str
    """prepared: the store's own counts; table: the rules applied to the source's table; stated: the source is not
    here, and the study's per_class or published numbers are taken.
    """
    why: str = ""
    """stated: why the source could not be opened."""
    warnings: tuple[str, ...] = ()
    """What the cohort's preparation, or the source's table, says to its reader."""

    @property
    def images(self) -> int:
        return self.training + self.tuning + self.validation

    @property
    def is_prepared(self) -> bool:
        return self.basis == "prepared"


def count_images(study: Study, name: str, site: RunEnvironment) -> ImageCounts:
    """Counts of one cohort.

    Where its source cannot be opened, the study's own numbers are taken and `why` says so; raises SourceError where it
    states none. Raises CohortError where the rules leave no cohort.
    """
    spec = study.cohorts[name]
    if (found := _prepared(study, name, site)) is not None:
        return found
    try:
        return _by_rules(study, name, site)
    except SourceError as error:
        images = declared_images(spec)
        if images is None:
            raise
        return _expected(with_copies(spec, declared_roles(spec, images)), "stated", why=str(error))


def _expected(images: Mapping[str, int], basis: str, why: str = "", warnings: Iterable[str] = ()) -> ImageCounts:
    return ImageCounts(images["training"], images["tuning"], images["validation"], basis, why, tuple(warnings))


def warn_of_declared_counts(counts: Mapping[str, ImageCounts]) -> None:
    """Warn once for all cohorts (by name) that are planned from what the study states."""
    stated = {name: found.why for name, found in counts.items() if found.basis == "stated"}
    if stated:
        reasons = " ".join(dict.fromkeys(stated.values()))
        names = f"cohort{'s' if len(stated) > 1 else ''} {', '.join(stated)}"
        warnings.warn(
            f"planned from the numbers the study states, because the source cannot be opened: {names}. {reasons}",
            AdvassayWarning,
            stacklevel=3,
        )


def _prepared(study: Study, name: str, site: RunEnvironment) -> ImageCounts | None:
    prepared = is_prepared_as_asked(study, name, site)
    if prepared is None:
        return None
    images = {role: sum(classes.values()) for role, classes in prepared.counts.items()}
    return _expected(images, "prepared", warnings=prepared.warnings)


def _by_rules(study: Study, name: str, site: RunEnvironment) -> ImageCounts:
    """Images that the rules let in, copies included; duplicates and unreadable files are not known yet."""
    from advassay.cohorts.selection import select_by_metadata
    from advassay.sources import open_source

    spec = study.cohorts[name]
    opened = open_source(spec.source, study.sources[spec.source], site.data)
    try:
        selected = select_by_metadata(name, spec, opened, study.seed)
    except CohortError as problem:
        raise of_cohort(name, problem) from problem
    told = selection_warnings(spec, study.size_of(name), opened, selected)
    return _expected(with_copies(spec, selected.counts()), "table", warnings=told)


@dataclass(frozen=True)
class PlannedDesign:
    """The deciding arm's design.

    images  cohort → images that the arm attacks, before any of them is found misclassified
    sizes   training-set sizes of the largest series; seeds networks of each
    """

    arm: str
    doses: tuple[float, ...]
    images: dict[str, int]
    image_types: dict[str, str]
    sizes: tuple[int, ...]
    seeds: int


def planned_design(study: Study, site: RunEnvironment) -> PlannedDesign:
    """The design of the arm that the analysis plan names (null: the first declared).

    Raises SpecError where its amplitudes are still to be found (epsilons: auto).
    """
    name = study.analysis.arm or next(iter(study.attack.arms))
    arm: Arm = study.attack.arm(name)
    if not arm.epsilons or isinstance(arm.epsilons, str):
        raise SpecError(
            f"attack.arms.{name}.epsilons: expected amplitudes, got {arm.epsilons!r}.",
            "Run the study once for its range-finding, or name amplitudes.",
        )
    counts = {cohort: count_images(study, cohort, site) for cohort in study.cohorts}
    warn_of_declared_counts(counts)
    attacked = {c: n.validation if arm.images is None else min(arm.images, n.validation) for c, n in counts.items()}
    series = {c: _sizes(study.cohorts[c].train_sizes, n.training) for c, n in counts.items()}
    longest = max(series, key=lambda cohort: len(series[cohort]))
    return PlannedDesign(
        name, tuple(float(e) for e in arm.epsilons), attacked,
        {cohort: spec.image_type or "" for cohort, spec in study.cohorts.items()}, series[longest],
        len(study.cohorts[longest].train_seeds),
    )  # fmt: skip


def _sizes(declared: tuple[int | float, ...], training: int) -> tuple[int, ...]:
    """Numbers of training images; shares are of the whole training part."""
    found = {round(size * training) if isinstance(size, float) else int(size) for size in declared}
    return tuple(sorted(found))
