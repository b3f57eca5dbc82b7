"""The launcher of this process: jobs one after the other, as soon as what they wait for is done.

A launcher is given jobs and an environment, nothing else. Another one (a cluster's, say) does the same by other means:
it hands each job to a `JobRunner` somewhere, once the jobs that it waits for are done.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from advassay import errors
from advassay.checked_files import read_document, write_document
from advassay.errors import AdvassayError, CohortError, DamagedError, SourceError, StoreError, WaitingError
from advassay.progress import timed_task
from advassay.store_layout import Store
from advassay.study.environment import RunEnvironment
from advassay.study.jobs import PREPARE, Job, in_order
from advassay.study.launchers.job_states import JobStates, needed_jobs
from advassay.study.launchers.remaining_time import RemainingTime
from advassay.study.run.attacked_network import AttackedNetwork
from advassay.study.run.job_runner import JobRunner, Outcome
from advassay.study.run.prepare_stage import Failures, of_cohort
from advassay.study.store_locks import Session

FIRST_LOOK, LAST_LOOK = 0.2, 5.0
"""Seconds between two looks at what other processes do: at first, and at most."""
GRACE = 30.0
"""Seconds for which an error that another process left before this one began may still be taken back: processes that
were started together begin by that."""


def launch(
    jobs: Sequence[Job],
    site: RunEnvironment,
    session: Session,
    failures: Failures | None = None,
    *,
    mine: Collection[str] | None = None,
    wait: bool = True,
    given: AttackedNetwork | None = None,
) -> dict[str, Outcome]:
    """Do the jobs in this process. Returns id → what each left, of those that this process did or found done.

    A job that another process is at is left to it and tried again later: nothing is done twice.
    failures: takes the error of each cohort that cannot be formed, and the jobs that wait for it are left out; without
    it the first such error is raised. mine: ids of the jobs that are this process's; the others are waited for. wait:
    whether to wait for those; else WaitingError, once nothing else can be done, says which they are. given: a
    network to be attacked of which only this process has the model.
    """
    return _Launch(jobs, site, session, failures, mine, given).run(wait)


@dataclass
class _Launch:
    jobs: Sequence[Job]
    site: RunEnvironment
    session: Session
    failures: Failures | None
    mine: Collection[str] | None
    given: AttackedNetwork | None
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._runner = JobRunner(self.site, self.session, self.given)
        self._began = time.time()
        self._remaining = RemainingTime(len(list(self._needed())), self.site.progress)
        self._states = JobStates(self.jobs)
        self._theirs: AdvassayError | None = None  # the first error of another process that something here waits for
        self._divided = self.mine is not None
        self._grace = GRACE
        for job in self.jobs:
            if self._divided and self._is_mine(job):
                forget_failure(self.site.store, job)

    def run(self, wait: bool) -> dict[str, Outcome]:
        self._grace = GRACE if wait else 0.0
        try:
            self._do_all(wait)
        except BaseException as problem:
            self._leave(problem)
            raise
        if self._theirs is not None:
            raise self._theirs
        return self.outcomes

    def _leave(self, problem: BaseException) -> None:
        """Let the other parts know that this one has ended: none waits for what it did not come to."""
        if not self._divided or not isinstance(problem, Exception) or isinstance(problem, WaitingError):
            return  # what was interrupted goes on with the same command
        for job in self.jobs:
            if self._is_mine(job) and not self._states.is_finished(job):
                keep_failure(self.site.store, job, problem)

    def _do_all(self, wait: bool) -> None:
        pending = in_order(self._needed())
        pause = FIRST_LOOK
        with ExitStack() as waiting:
            told: tuple[str, ...] = ()
            while pending:
                before = len(pending)
                pending = [job for job in pending if self._is_open(job)]
                if len(pending) < before:
                    pause = FIRST_LOOK
                    continue
                awaited = tuple(self._awaited(pending))
                if not wait:
                    raise self._theirs or _waiting(awaited)
                if awaited != told:
                    waiting.close()
                    waiting.enter_context(timed_task(self.site.progress, f"wait for {'; '.join(awaited)}"))
                    told = awaited
                time.sleep(pause)
                pause = min(LAST_LOOK, 1.5 * pause)

    def _is_mine(self, job: Job) -> bool:
        return self.mine is None or job.id in self.mine

    def _needed(self) -> Iterator[Job]:
        """This process's jobs, and those of others that they wait for."""
        return needed_jobs(self.jobs, [job.id for job in self.jobs if self._is_mine(job)])

    def _is_open(self, job: Job) -> bool:
        """Do the job if it can be done now; whether it is still to be done."""
        if self._states.is_ready(job):
            if self._is_mine(job):
                self._try(job)
            else:
                self._look_at(job)
        return self._states.is_open(job)

    def _try(self, job: Job) -> None:
        began = time.monotonic()
        try:
            done, outcome = self._runner.do(job)
        except AdvassayError as problem:
            if self._divided:
                keep_failure(self.site.store, job, problem)
            if job.stage != PREPARE or not isinstance(problem, CohortError | SourceError):
                raise
            named = of_cohort(job.cohort, problem)
            if self.failures is None:
                raise named from problem
            self.failures[job.cohort] = named
            self._states.lose(job)
            return
        if done:
            self.outcomes[job.id] = outcome
            self._states.finish(job)
            self._remaining.add(job, time.monotonic() - began)
            self._remaining.tell([one for one in self._needed() if self._states.is_open(one)])

    def _look_at(self, job: Job) -> None:
        """See whether another process has done a job, or has failed at it."""
        if self._is_done(job):
            self._states.finish(job)
        elif (problem := failure_of(self.site.store, job, self._began, self._grace)) is not None:
            self._states.lose(job)
            if isinstance(problem, CohortError | SourceError) and job.stage == PREPARE and self.failures is not None:
                self.failures[job.cohort] = problem
            else:
                self._theirs = self._theirs or problem

    def _is_done(self, job: Job) -> bool:
        try:
            return self._runner.is_done(job)
        except StoreError:  # damaged, or being replaced: the part whose job it is mends it
            return False

    def _awaited(self, pending: Sequence[Job]) -> Iterator[str]:
        """What is waited for, in words: jobs that could be done now, and are not this process's or are held."""
        for job in pending:
            if self._states.is_ready(job):
                yield f"{job.what} ({'another process is at it' if self._is_mine(job) else 'of another part'})"


def _waiting(awaited: Sequence[str]) -> WaitingError:
    return WaitingError(
        f"--no-wait: nothing else can be done before {'; '.join(awaited)}.",
        "Run the same command again once that is done.",
    )


# ---- errors, for other processes ----------------------------------------------------------------------------------


def keep_failure(store: Store, job: Job, problem: Exception) -> None:
    """Let other processes know that a job failed. What the error says stays here: it may name files and people."""
    kind = type(problem).__name__ if isinstance(problem, AdvassayError) else AdvassayError.__name__
    write_document(store.failed_jobs / f"{job.id}.json", {"job": job.what, "error": kind})


def forget_failure(store: Store, job: Job) -> None:
    """Take back what an earlier attempt left: the job is tried again."""
    (store.failed_jobs / f"{job.id}.json").unlink(missing_ok=True)


def failure_of(store: Store, job: Job, began: float, grace: float = GRACE) -> AdvassayError | None:
    """The error that another process left of a job, in this process's words; None where there is none. `began`: when
    this process began (seconds since 1970): what was left before is believed after `grace` seconds alone.
    """
    path = store.failed_jobs / f"{job.id}.json"
    try:
        left, kept = path.stat().st_mtime, read_document(path, "Run that part again.")
    except (FileNotFoundError, DamagedError):
        return None
    if left < began and time.time() - began < grace:
        return None
    kind = getattr(errors, str(kept.get("error")), AdvassayError)
    place = f"cohorts.{job.cohort}: " if job.stage == PREPARE else ""
    return kind(  # type: ignore[no-any-return]
        f"{place}{job.what} failed in another part of this run, which says why.",
        "Mend that and run that part again; then the same command goes on.",
    )
