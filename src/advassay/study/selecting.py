"""Before any image is read: who would be in each cohort."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from advassay.errors import AdvassayError, CohortError, SourceError
from advassay.specs import Study
from advassay.study.located import located
from advassay.study.place import Site
from advassay.study.preparing import of_cohort

if TYPE_CHECKING:
    from advassay.cohorts.metadata import Selection
    from advassay.sources import OpenSource


def select_cohorts(study: Study, site: Site) -> dict[str, Selection]:
    """Every cohort's selection by metadata; a source that several cohorts share is opened once.

    Raises SourceError for a source that cannot be opened, CohortError where the rules of a cohort leave none.
    """
    selected = {}
    for name, select in _selections(study, site):
        selected[name] = select()
    return selected


def select_where_possible(study: Study, site: Site) -> dict[str, Selection | AdvassayError]:
    """The same for every cohort that can be selected; of each other one the error, which names the cohort."""
    selected: dict[str, Selection | AdvassayError] = {}
    for name, select in _selections(study, site):
        try:
            selected[name] = select()
        except (CohortError, SourceError) as problem:
            selected[name] = of_cohort(name, problem)
    return selected


def _selections(study: Study, site: Site) -> Iterator[tuple[str, Callable[[], Selection]]]:
    """Each cohort with the call that selects it."""
    from advassay.cohorts.metadata import select_by_metadata
    from advassay.sources import open_source

    opened: dict[str, OpenSource] = {}

    def select(name: str) -> Selection:
        cohort = study.cohorts[name]
        if cohort.source not in opened:
            opened[cohort.source] = open_source(cohort.source, *located(study.sources[cohort.source], site.data))
        return select_by_metadata(name, cohort, opened[cohort.source], study.seed)

    yield from ((name, partial(select, name)) for name in study.cohorts)
