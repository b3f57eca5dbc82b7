"""A cohort's source → prepared images in the store, or only who would be in it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from advassay.errors import AdvassayWarning, CohortError, SourceError
from advassay.spec.source_spec import Source, names_patients
from advassay.spec.study_spec import MEASURED_MINIMUM_PX, Study
from advassay.store_documents import Preparation
from advassay.study.environment import RunEnvironment
from advassay.study.path_privacy import split_absolute_path
from advassay.study.store_locks import document_lock

if TYPE_CHECKING:
    from advassay.cohorts.selection import Selection
    from advassay.sources import OpenSource


Made = TypeVar("Made")

Failures = dict[str, CohortError | SourceError]
"""Cohort → why it could not be formed; the text begins with the cohort's name."""


def each_cohort(study: Study, make: Callable[[str], Made], failures: Failures | None) -> dict[str, Made]:
    """Cohort → `make(cohort)`. An error about a cohort or its source goes to `failures`, or out where there is none."""
    made = {}
    for name in study.cohorts:
        try:
            made[name] = make(name)
        except (CohortError, SourceError) as problem:
            if failures is None:
                raise
            failures[name] = of_cohort(name, problem)
    return made


def of_cohort(name: str, problem: CohortError | SourceError) -> CohortError | SourceError:
    """The same error, its text beginning with the cohort's name."""
    place = f"cohorts.{name}: "
    named = type(problem)(f"{place}{problem.problem.removeprefix(place)}", problem.fix)
    if isinstance(problem, CohortError) and isinstance(named, CohortError):
        named.flow = problem.flow
    return named


def prepare_cohort(study: Study, name: str, site: RunEnvironment) -> Preparation:
    """Prepare one cohort of the study, or recognise what is there. Raises CohortError, which names the cohort."""
    try:
        return _prepare(study, name, site)
    except CohortError as problem:
        raise of_cohort(name, problem) from problem


def _prepare(study: Study, name: str, site: RunEnvironment) -> Preparation:
    from advassay.cohorts import prepare
    from advassay.cohorts.cache_key import document_in
    from advassay.study.upkeep.forget_patient import drop_forgotten

    cohort = study.cohorts[name]
    source, data = split_absolute_path(study.sources[cohort.source], site.data)
    prepared = prepare(
        name,
        cohort,
        source,
        size_px=study.size_of(name),
        seed=study.seed,
        folder=site.store.cohort(name),
        data=data,
        key=_key(study, source, site),
        private=site.store.private_sources,
        progress=site.progress,
    )
    with document_lock(site.store, "forgotten"):
        dropped = drop_forgotten(site.store, f"cohort {name} was prepared with images")
    if dropped is None:
        return prepared
    return document_in(site.store.cohort(name)) or prepared


def is_prepared_as_asked(study: Study, name: str, site: RunEnvironment) -> Preparation | None:
    """The document of a cohort that the store holds as the study asks for it; None where it is to be prepared.

    Raises DamagedError for a document that cannot be read.
    """
    from advassay.cohorts.cache_key import document_in, is_current, request_hash, state_of

    spec, found = study.cohorts[name], document_in(site.store.cohort(name))
    source, data = split_absolute_path(study.sources[spec.source], site.data)
    if found is None or found.request != request_hash(spec, source, study.size_of(name), study.seed):
        return None
    return found if is_current(found, found.request, state_of(spec, source, data)) else None


def check_image_sizes(study: Study) -> None:
    """Raise CohortError for a cohort whose images are smaller than the network can take (InceptionV3: 75 px)."""
    trained = [name for name, cohort in study.cohorts.items() if cohort.is_trained_on]
    if not trained:  # a given model, which may bear any name
        return
    architectures = study.training.architectures or (study.training.architecture,)
    minimum = {name: MEASURED_MINIMUM_PX.get(name) or _minimum(name) for name in architectures}
    architecture = max(architectures, key=minimum.__getitem__)  # the first of the most demanding ones
    least = minimum[architecture]
    small = {name: size for name in trained if (size := study.size_of(name)) < least}
    if small:
        sizes = ", ".join(f"{name} {size} px" for name, size in small.items())
        raise CohortError(
            f"image_size_px: {architecture} takes images of {least} px or more, got {sizes}.",
            f"Set image_size_px to {least} or more, or choose another training.architecture.",
        )


def _minimum(architecture: str) -> int:
    from advassay.models import minimum_image_size

    return minimum_image_size(architecture)


def check_networks(study: Study) -> None:
    """Raise TrainingError for a further architecture that cannot take the cohorts' images: the main network is tried
    when it is trained, these would be only after hours."""
    further = (study.training.architectures or ())[1:]
    if not further:
        return
    from advassay.models.timm_networks import image_size_error, takes_image_size

    for architecture in further:
        for size in dict.fromkeys(map(study.size_of, study.cohorts)):
            if not takes_image_size(architecture, size):
                raise image_size_error(architecture, size, "a trial pass failed")


def _key(study: Study, source: Source, site: RunEnvironment) -> bytes:
    """The pseudonyms' key. That the default one is no secret matters where a source names patients."""
    from advassay.sources import pseudonym_key

    with warnings.catch_warnings():
        if not names_patients(source):
            warnings.simplefilter("ignore", AdvassayWarning)
        return pseudonym_key(site.key_file, study.name)


def select_cohorts(study: Study, site: RunEnvironment, failures: Failures | None = None) -> dict[str, Selection]:
    """Every cohort's selection by metadata; a source that several cohorts share is opened once.

    failures: takes the error of each cohort that cannot be formed; without it the first is raised: SourceError for a
    source that cannot be opened, CohortError where the rules of a cohort leave none.
    """
    from advassay.cohorts.selection import select_by_metadata
    from advassay.sources import open_source

    opened: dict[str, OpenSource] = {}

    def select(name: str) -> Selection:
        cohort = study.cohorts[name]
        if cohort.source not in opened:
            opened[cohort.source] = open_source(
                cohort.source, *split_absolute_path(study.sources[cohort.source], site.data)
            )
        return select_by_metadata(name, cohort, opened[cohort.source], study.seed)

    return each_cohort(study, select, failures)
