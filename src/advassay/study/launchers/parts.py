"""One study divided into parts: `--part i/n`, for sites where each process is started by hand or by a job array.

Which jobs are whose follows from the study alone. So every part knows it without a word from the others, at any time
and whatever the store holds; a part that is run again does what it has not done yet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from advassay.errors import SpecError
from advassay.spec.study_spec import Study
from advassay.study.jobs import ROUNDS, CohortFacts, enumerate_jobs
from advassay.study.plan.image_counts import declared_images, declared_roles, with_copies

UNSTATED = 1000
"""Images of each class that a cohort is taken to have where the study does not say; it decides nothing but balance."""


@dataclass(frozen=True)
class Part:
    """One of `of` parts, counted from 1."""

    number: int
    of: int


def parse_part(text: str) -> Part:
    """A part from "2/3". Raises SpecError for anything else.

    >>> parse_part("2/3")
    Part(number=2, of=3)
    """
    found = re.fullmatch(r"\s*(\d{1,6})\s*/\s*(\d{1,6})\s*", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise SpecError(f"--part: expected i/n with 1 ≤ i ≤ n, got {text!r}.", "Give the first of three as 1/3.")
    return Part(int(found[1]), int(found[2]))


def jobs_of_part(study: Study, part: Part) -> frozenset[str]:
    """Ids of the jobs that are this part's.

    Each job is one part's. Those on one run (the attack, its controls, its re-run) are of the same part, which has the
    network loaded. In every round of the work (cohorts, networks, amplitudes, attacks) they are dealt out so that the
    parts' costs come close to each other, by the numbers of images that the study states.
    """
    jobs = enumerate_jobs(study)
    stated = enumerate_jobs(study, {name: stated_facts(study, name) for name in study.cohorts})
    cost = {job.id: sum(one.total for one in job.costs) for job in stated}
    mine: set[str] = set()
    for round_ in sorted(set(ROUNDS.values())):
        kin: dict[str, int] = {}
        members = [job for job in jobs if ROUNDS[job.stage] == round_]
        for job in members:
            kin[job.kin] = kin.get(job.kin, 0) + cost.get(job.id, 0)
        dealt = _dealt(kin, part.of)
        mine.update(job.id for job in members if dealt[job.kin] == part.number)
    return frozenset(mine)


def _dealt(costs: dict[str, int], parts: int) -> dict[str, int]:
    """What → its part: the costly ones first, each to the part with the least so far."""
    load = dict.fromkeys(range(1, parts + 1), 0)
    dealt = {}
    for name, cost in sorted(costs.items(), key=lambda pair: (-pair[1], pair[0])):
        number = min(load, key=lambda part: (load[part], part))
        load[number] += max(1, cost)
        dealt[name] = number
    return dealt


def stated_facts(study: Study, cohort: str) -> CohortFacts:
    """A cohort's numbers of images as the study states them, or as if it had `UNSTATED` of each class."""
    spec = study.cohorts[cohort]
    images = declared_images(spec) or dict.fromkeys(spec.classes, UNSTATED)
    counts = with_copies(spec, declared_roles(spec, images))
    return CohortFacts(counts["training"], counts["tuning"], counts["validation"])
