"""Before any image is read: who would be in each cohort."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advassay.specs import Study
from advassay.study.located import located
from advassay.study.place import Site
from advassay.study.preparing import Failures, each_cohort

if TYPE_CHECKING:
    from advassay.cohorts.metadata import Selection
    from advassay.sources import OpenSource


def select_cohorts(study: Study, site: Site, failures: Failures | None = None) -> dict[str, Selection]:
    """Every cohort's selection by metadata; a source that several cohorts share is opened once.

    failures: takes the error of each cohort that cannot be formed; without it the first is raised: SourceError for a
    source that cannot be opened, CohortError where the rules of a cohort leave none.
    """
    from advassay.cohorts.metadata import select_by_metadata
    from advassay.sources import open_source

    opened: dict[str, OpenSource] = {}

    def select(name: str) -> Selection:
        cohort = study.cohorts[name]
        if cohort.source not in opened:
            opened[cohort.source] = open_source(cohort.source, *located(study.sources[cohort.source], site.data))
        return select_by_metadata(name, cohort, opened[cohort.source], study.seed)

    return each_cohort(study, select, failures)
