"""How long a study may still take is told from jobs of the same kind, and as a lower bound where a kind is unknown."""

from __future__ import annotations

import pytest

from advassay.progress import Outlook, Silent
from advassay.spec.study_spec import Study
from advassay.study.jobs import Job, enumerate_jobs
from advassay.study.launchers.outlook import StudyOutlook


class Told(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.last: Outlook | None = None

    def outlook(self, outlook: Outlook) -> None:
        self.last = outlook


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
    outlook = StudyOutlook(len(jobs), told)
    first, second = ([job for job in jobs if job.cohort == name] for name in "AB")
    for job, seconds in zip(first, range(10, 100), strict=False):
        outlook.add(job, seconds)
    outlook.tell(second)
    assert told.last == Outlook(len(first), len(jobs), sum(range(10, 10 + len(first))), at_least=False)


def test_a_kind_that_was_not_timed_makes_the_time_a_lower_bound(jobs: list[Job]) -> None:
    told = Told()
    outlook = StudyOutlook(len(jobs), told)
    outlook.tell(jobs)
    assert told.last == Outlook(0, len(jobs), None, at_least=True)
    prepared = [job for job in jobs if job.stage == "prepare"]
    outlook.add(prepared[0], 0.01)  # the store had it: says nothing
    outlook.tell(prepared[1:])
    assert told.last == Outlook(len(jobs) - 1, len(jobs), None, at_least=True)
    outlook.add(prepared[0], 4)
    outlook.tell(jobs[1:])
    assert told.last == Outlook(1, len(jobs), 4, at_least=True)
