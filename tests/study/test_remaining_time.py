"""How long a study may still take is told from jobs of the same kind, and as a lower bound where a kind is unknown."""

from __future__ import annotations

import pytest

from advassay.progress import Silent, StudyProgress
from advassay.spec.study_spec import Study
from advassay.study.jobs import Job, enumerate_jobs
from advassay.study.launchers.remaining_time import RemainingTime


class Told(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.last: StudyProgress | None = None

    def study_progress(self, found: StudyProgress) -> None:
        self.last = found


@pytest.fixture
def jobs() -> list[Job]:
    cohort = {"source": "chest", "classes": {"m": {"sex": "M"}, "f": {"sex": "F"}}}
    study = Study.model_validate(
        {
            "name": "two",
            "sources": {"chest": {"kind": "phantoms", "phantom": "chest"}},
            "cohorts": {"A": cohort, "B": cohort},
            "training": {"updates": 4},
            "attack": {"epsilons": [0.02], "arms": {"A": {}}},
        }
    )
    return list(enumerate_jobs(study))


def test_the_second_cohort_is_expected_to_take_what_the_first_took(jobs: list[Job]) -> None:
    told = Told()
    remaining = RemainingTime(len(jobs), told)
    first, second = ([job for job in jobs if job.cohort == name] for name in "AB")
    for job, seconds in zip(first, range(10, 100), strict=False):
        remaining.add(job, seconds)
    remaining.tell(second)
    assert told.last == StudyProgress(len(first), len(jobs), sum(range(10, 10 + len(first))), at_least=False)


def test_a_kind_that_was_not_timed_makes_the_time_a_lower_bound(jobs: list[Job]) -> None:
    told = Told()
    remaining = RemainingTime(len(jobs), told)
    remaining.tell(jobs)
    assert told.last == StudyProgress(0, len(jobs), None, at_least=True)
    prepared = [job for job in jobs if job.stage == "prepare"]
    remaining.add(prepared[0], 0.01)  # the store had it: says nothing
    remaining.tell(prepared[1:])
    assert told.last == StudyProgress(len(jobs) - 1, len(jobs), None, at_least=True)
    remaining.add(prepared[0], 4)
    remaining.tell(jobs[1:])
    assert told.last == StudyProgress(1, len(jobs), 4, at_least=True)
