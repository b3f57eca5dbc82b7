"""How many images a cohort will have, found without decoding one."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from advassay.checked_files import read_model
from advassay.documents import Preparation
from advassay.errors import AdvassayWarning, CohortError, SourceError
from advassay.layout import PREPARATION
from advassay.records.store import PREPARATION_HEALED
from advassay.specs import Study
from advassay.study.located import located
from advassay.study.place import Site
from advassay.study.plan_warnings import selection_warnings
from advassay.study.preparing import of_cohort
from advassay.study.stated import stated_images, stated_roles, with_copies


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


def expected(study: Study, name: str, site: Site) -> Expected:
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
        images = stated_images(spec)
        if images is None:
            raise
        return _expected(with_copies(spec, stated_roles(spec, images)), "stated", why=str(error))


def _expected(images: Mapping[str, int], basis: str, why: str = "", warnings: Iterable[str] = ()) -> Expected:
    return Expected(images["training"], images["tuning"], images["validation"], basis, why, tuple(warnings))


def tell_stated(counts: Mapping[str, Expected]) -> None:
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


def _prepared(study: Study, name: str, site: Site) -> Expected | None:
    from advassay.cohorts import is_prepared

    spec = study.cohorts[name]
    folder = site.store.cohort(name)
    source, data = located(study.sources[spec.source], site.data)
    if not is_prepared(folder, spec, source, size_px=study.size_of(name), seed=study.seed, data=data):
        return None
    prepared = read_model(folder / PREPARATION, Preparation, PREPARATION_HEALED)
    images = {role: sum(classes.values()) for role, classes in prepared.counts.items()}
    return _expected(images, "prepared", warnings=prepared.warnings)


def _by_rules(study: Study, name: str, site: Site) -> Expected:
    """Images that the rules let in, copies included; duplicates and unreadable files are not known yet."""
    from advassay.cohorts.metadata import select_by_metadata
    from advassay.sources import open_source

    spec = study.cohorts[name]
    opened = open_source(spec.source, study.sources[spec.source], site.data)
    try:
        selected = select_by_metadata(name, spec, opened, study.seed)
    except CohortError as problem:
        raise of_cohort(name, problem) from problem
    told = selection_warnings(spec, study.size_of(name), opened, selected)
    return _expected(with_copies(spec, selected.counts()), "table", warnings=told)
