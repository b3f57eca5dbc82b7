"""How many images a cohort will have, found without decoding one."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import polars as pl

from advassay.documents import Preparation
from advassay.errors import AdvassayWarning, SourceError
from advassay.layout import PREPARATION
from advassay.specs import CohortSpec, Study
from advassay.study.located import located
from advassay.study.place import Site


@dataclass(frozen=True)
class Expected:
    """A cohort's numbers of images, and where they come from."""

    training: int
    tuning: int
    validation: int
    basis: str
    """prepared: the store's own counts; table: the rules applied to the source's table; stated: the source is not
    here, and the study's per_class or published numbers are taken.
    """

    @property
    def images(self) -> int:
        return self.training + self.tuning + self.validation

    @property
    def is_prepared(self) -> bool:
        return self.basis == "prepared"


def expected(study: Study, name: str, site: Site) -> Expected:
    """Counts of one cohort.

    A source that cannot be opened is said as an AdvassayWarning where the study states its numbers, and raised as
    SourceError where it states none. Raises CohortError where the rules leave no cohort.
    """
    spec = study.cohorts[name]
    if (found := _prepared(study, name, site)) is not None:
        return found
    try:
        roles = _roles(study, spec, site)
    except SourceError as error:
        images = _stated_images(spec)
        if images is None:
            raise
        warnings.warn(
            f"cohort {name} is planned from the numbers the study states, because its source cannot be opened: {error}",
            AdvassayWarning,
            stacklevel=2,
        )
        return _stated(spec, images)
    counts = {role: int((roles == role).sum()) for role in ("training", "tuning", "validation")}
    return Expected(**counts, basis="table")


def _prepared(study: Study, name: str, site: Site) -> Expected | None:
    from advassay.cohorts import is_prepared

    spec = study.cohorts[name]
    folder = site.store.cohort(name)
    source, data = located(study.sources[spec.source], site.data)
    if not is_prepared(folder, spec, source, size_px=study.size_of(name), seed=study.seed, data=data):
        return None
    counts = Preparation.model_validate_json((folder / PREPARATION).read_text()).counts
    return Expected(**{role: sum(classes.values()) for role, classes in counts.items()}, basis="prepared")


def _roles(study: Study, spec: CohortSpec, site: Site) -> pl.Series:
    """The role of each row that the rules let in; duplicates and unreadable files are not known yet."""
    from advassay.cohorts.metadata import select_by_metadata
    from advassay.sources import open_source

    opened = open_source(spec.source, study.sources[spec.source], site.data)
    return select_by_metadata(spec.source, spec, opened, study.seed).frame["role"]


def _stated_images(spec: CohortSpec) -> int | None:
    """How many images the study itself says a cohort has; None where it says nothing."""
    if isinstance(spec.per_class, dict):
        return sum(spec.per_class.values())
    if spec.per_class is not None:
        return spec.per_class * len(spec.classes)
    return spec.published.images if spec.published else None


def _stated(spec: CohortSpec, images: int) -> Expected:
    if spec.split == "none":
        return Expected(0, 0, images, "stated")
    validation = round(images * spec.validation_fraction)
    tuning = round((images - validation) * spec.tuning_fraction)
    return Expected(images - validation - tuning, tuning, validation, "stated")
