"""Which jobs of a study are done, which cannot be, and which can begin now."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from advassay.study.jobs import PREPARE, RANGE_FINDING, Job, in_order

FINISHED, LOST, OPEN = "finished", "lost", "open"


class JobStates:
    """The jobs of a study, each open, finished or lost. One that waits for a lost job is lost too."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._by_id = {job.id: job for job in jobs}
        self._state = dict.fromkeys(self._by_id, OPEN)

    def finish(self, job: Job) -> None:
        self._state[job.id] = FINISHED

    def lose(self, job: Job) -> None:
        """The job cannot be done, nor what waits for it."""
        self._state[job.id] = LOST

    def is_open(self, job: Job) -> bool:
        return self._state[job.id] == OPEN

    def is_finished(self, job: Job) -> bool:
        return self._state[job.id] == FINISHED

    def is_ready(self, job: Job) -> bool:
        """Whether all that the job waits for is done, or may lack. Where something it needs is lost, so is the job."""
        if any(self._is_lost(id_, job) for id_ in job.waits_for):
            self.lose(job)
            return False
        return all(self._is_settled(id_, job) for id_ in job.waits_for)

    def _is_lost(self, id_: str, job: Job) -> bool:
        return self._state.get(id_) == LOST and not self._may_lack(id_, job)

    def _is_settled(self, id_: str, job: Job) -> bool:
        return self._state.get(id_, FINISHED) == FINISHED or (self._state[id_] == LOST and self._may_lack(id_, job))

    def _may_lack(self, id_: str, job: Job) -> bool:
        """Amplitudes are found over the cohorts that could be formed: the others do without."""
        lacking = self._by_id[id_]
        return lacking.stage == RANGE_FINDING and lacking.cohort != job.cohort and self._is_unformed(lacking.cohort)

    def _is_unformed(self, cohort: str) -> bool:
        jobs = self._by_id.values()
        return any(job.stage == PREPARE and job.cohort == cohort and self._state[job.id] == LOST for job in jobs)


def needed_jobs(jobs: Sequence[Job], mine: Collection[str]) -> Iterator[Job]:
    """The jobs with ids in `mine`, and all that they wait for, in the order of `jobs`."""
    needed = set(mine)
    for job in reversed(in_order(jobs)):  # a job stands behind what it waits for
        if job.id in needed:
            needed.update(job.waits_for)
    return (job for job in jobs if job.id in needed)
