"""How far a whole study is, and how long the rest may take, from the jobs that this process has done."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean

from advassay.progress import Progress, StudyProgress, tell_study_progress
from advassay.study.jobs import Job

FOUND_DONE = 0.5
"""Seconds below which a job is taken as one that the store held already: it says nothing about the next one."""


class RemainingTime:
    """Tells a progress after each job: jobs done of all, and the time that the others may take.

    A job is expected to take the mean of those of its kind: same stage, arm and place in a size series. Kinds that have
    not been timed yet are left out, and the time is then a lower bound.
    """

    def __init__(self, jobs: int, progress: Progress) -> None:
        """jobs: how many there are."""
        self._jobs, self._progress = jobs, progress
        self._seconds: defaultdict[tuple[object, ...], list[float]] = defaultdict(list)

    def add(self, job: Job, seconds: float) -> None:
        """`job` took so long."""
        if seconds >= FOUND_DONE:
            self._seconds[_kind(job)].append(seconds)

    def tell(self, pending: Sequence[Job], *, workers: int = 1, steps_per_second: float | None = None) -> None:
        """Tell the progress what is left: `pending` jobs, shared by `workers` processes that together take so many
        gradient steps per second (None where that is not counted).
        """
        known = [fmean(self._seconds[_kind(job)]) for job in pending if _kind(job) in self._seconds]
        left = sum(known) / max(1, workers) if known or not pending else None
        done, at_least = self._jobs - len(pending), len(known) < len(pending)
        tell_study_progress(self._progress, StudyProgress(done, self._jobs, left, at_least, workers, steps_per_second))


def _kind(job: Job) -> tuple[object, ...]:
    return job.stage, job.arm, job.series, job.network is None or bool(getattr(job.network, "main", True))
