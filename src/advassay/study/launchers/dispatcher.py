"""Hands the jobs of a study to workers, whatever engine runs them: jobs whole, attacks in pieces.

The engine (`Workers`) starts processes, carries calls to them and tells which of them ended. The order of work, what is
given out again and what is set aside is decided here, so that it can be tested without an engine.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from advassay import errors
from advassay.errors import (
    AdvassayError,
    AdvassayWarning,
    AttackError,
    CohortError,
    SourceError,
    StoreError,
    WaitingError,
)
from advassay.progress import Progress, timed_task
from advassay.store_layout import Store
from advassay.study.jobs import ATTACK, PREPARE, RERUN, STEPS, TRAIN, Job, in_order
from advassay.study.launchers.cluster_document import ClusterLog
from advassay.study.launchers.job_states import JobStates
from advassay.study.launchers.piece_queue import STRIKES, PieceQueue, places
from advassay.study.launchers.remaining_time import RemainingTime
from advassay.study.run.prepare_stage import Failures, of_cohort
from advassay.study.run.run_pieces import BegunRun, Piece, PieceDone
from advassay.study.store_locks import Session

Step = Literal["do", "lock name", "begin", "piece", "end"]
IN_PIECES = (ATTACK, RERUN)
"""Stages whose images several workers attack at once."""
Worker = Hashable


@dataclass(frozen=True)
class Call:
    """What one worker is to do: a job, or a step of one that is done in pieces. Plain values, but for the job."""

    job: Job
    step: Step
    piece: Piece | None = None
    rows_before: bool = False


@dataclass(frozen=True)
class Answer:
    """What a call gave: names and counts."""

    value: Any
    """of "do": whether it was done (False: another process is at it); of the others as in `JobRunner`: of "begin" None
    where another process is at it, of "end" "" where the store lacks rows."""
    seconds: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """The call raised an error."""

    kind: str
    problem: str
    fix: str = ""
    of_machine: bool = False
    """Another machine may do better: its disk is full, its memory is."""
    flow: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Gone:
    """The worker ended, or did not answer in time, while it was at a call."""

    blamed: bool
    """Its machine is still there: the call may be why."""


class Workers(Protocol):
    """Processes that do calls, one at a time each."""

    def idle(self) -> Sequence[Worker]:
        """Workers that are ready and have nothing to do."""

    def number(self) -> int:
        """Workers that are ready."""

    def node(self, worker: Worker) -> str:
        """The name of the machine that a worker is on."""

    def submit(self, worker: Worker, call: Call, prepared: tuple[str, ...], patience: float | None) -> None:
        """Have a worker do a call. `prepared`: cohorts that are; `patience`: seconds after which it counts as gone."""

    def results(self, timeout: float) -> Sequence[tuple[Worker, Call, Answer | Failure | Gone]]:
        """What has come; waits for the first for so many seconds."""


@dataclass
class _Under:
    """A job in pieces, under way."""

    job: Job
    lock: ExitStack
    queue: PieceQueue | None = None
    busy: bool = False
    """A worker is at a step of it that has to be done alone."""
    ending: bool = False
    task: str = ""
    seconds: float = 0.0
    steps_left: float = 0.0


LOOK = 0.2
LACKING_SECONDS = 5.0
"""Until a run is looked at again whose rows were not all seen at its end; three times as long at each further time. On
a network drive a machine may see what others wrote with some delay."""
TELL_SECONDS = 10.0
FIRST_PATIENCE = 900.0
"""Seconds for a piece of which it is not known how long it takes."""
PATIENCE = 20
"""How many times as long as expected a piece may take, at least FIRST_PATIENCE / 15 in all."""


@dataclass
class Dispatcher:
    """Does the jobs of one study by workers."""

    jobs: Sequence[Job]
    workers: Workers
    store: Store
    session: Session
    progress: Progress
    failures: Failures | None = None
    wait: bool = True
    first_patience: float = FIRST_PATIENCE
    log: ClusterLog | None = None
    set_aside: list[AdvassayError] = field(default_factory=list)
    """What could not be done, after the rest has been."""
    pieces: int = 0
    """Pieces attacked."""

    def __post_init__(self) -> None:
        self._states = JobStates(self.jobs)
        self._order = in_order(self.jobs)
        self._remaining = RemainingTime(len(self.jobs), self.progress)
        self._under: dict[str, _Under] = {}  # jobs in pieces
        self._out: set[str] = set()  # other jobs that workers are at
        self._later: dict[str, float] = {}  # job that another process was at → when to try again
        self._strikes: Counter[str] = Counter()
        self._at: dict[Worker, str] = {}  # worker → the job in pieces it did last
        self._prepared: list[str] = []
        self._run_ids: dict[str, str] = {}
        self._steps, self._since, self._told = 0.0, time.monotonic(), 0.0

    def run(self) -> dict[str, str]:
        """Do all jobs. Returns id of a job that attacks → its run_id, of those that were done.

        Raises the first error that is of the study rather than of a worker, and WaitingError.
        """
        try:
            self._do_all()
        finally:
            for under in self._under.values():
                under.lock.close()
                if under.task:
                    self.progress.finish(under.task)
            self._tell(now=True)
        return self._run_ids

    # ---- giving out -------------------------------------------------------------------------------------------------

    def _do_all(self) -> None:
        with ExitStack() as waiting:
            told: tuple[str, ...] = ()
            while self._open():
                self._give_out()
                if not self._is_busy():
                    awaited = tuple(job.what for job in self._open() if job.id in self._later)
                    if awaited and not self.wait:
                        raise WaitingError(
                            f"--no-wait: nothing else can be done before {'; '.join(awaited)} "
                            "(another process is at it).",
                            "Run the same command again once that is done.",
                        )
                    if awaited != told:
                        waiting.close()
                        if awaited:
                            what = f"wait for {'; '.join(awaited)} (another process is at it)"
                            waiting.enter_context(timed_task(self.progress, what))
                        told = awaited
                for worker, call, result in self.workers.results(LOOK):
                    self._take(worker, call, result)
                self._tell()

    def _open(self) -> list[Job]:
        return [job for job in self._order if self._states.is_open(job)]

    def _is_busy(self) -> bool:
        return bool(self._out) or any(under.busy or under.queue is not None for under in self._under.values())

    def _give_out(self) -> None:
        idle = list(self.workers.idle())
        while idle:
            given = self._next(idle)
            if given is None:
                return
            worker, call, patience = given
            idle.remove(worker)
            self.workers.submit(worker, call, tuple(self._prepared), patience)

    def _next(self, idle: Sequence[Worker]) -> tuple[Worker, Call, float | None] | None:
        """A call for one of the idle workers; None where there is nothing to do now."""
        ready = self._ready()
        for job in ready:  # cohorts and networks first: attacks wait for them
            if job.stage not in IN_PIECES:
                self._out.add(job.id)
                return idle[0], Call(job, "do"), None
        for under in self._under.values():
            if under.queue is not None and under.queue.finished and not under.ending:
                under.busy = under.ending = True
                return self._used_to(under.job, idle), Call(under.job, "end"), None
        for worker in idle:  # whoever has the network loaded goes on with it
            at = self._under.get(self._at.get(worker, ""))
            if at is not None and at.queue is not None and at.queue.waiting:
                return self._piece(worker, at, at.queue)
        for job in ready:
            if job.stage in IN_PIECES:
                self._under[job.id] = _Under(job, ExitStack(), busy=True)
                return self._used_to(job, idle), Call(job, "lock name"), None
        helped = [(under.queue.out, under) for under in self._under.values() if under.queue and under.queue.waiting]
        if helped:
            _, under = min(helped, key=lambda pair: pair[0])
            assert under.queue is not None
            return self._piece(idle[0], under, under.queue)
        return None

    def _piece(self, worker: Worker, under: _Under, queue: PieceQueue) -> tuple[Worker, Call, float]:
        piece, rows_before = queue.take(self.workers.number())
        expected = queue.expected_seconds(piece)
        patience = self.first_patience if expected is None else max(self.first_patience / 15, PATIENCE * expected)
        self._at[worker] = under.job.id
        return worker, Call(under.job, "piece", piece, rows_before), patience

    def _used_to(self, job: Job, idle: Sequence[Worker]) -> Worker:
        """A worker that has attacked the job's run, or the one of its kin, else the first."""
        return next((worker for worker in idle if self._at.get(worker) in (job.id, job.kin)), idle[0])

    def _ready(self) -> list[Job]:
        """Jobs that can begin now: not two on one run, and none that attacks before all cohorts are prepared."""
        at = {under.job.kin for under in self._under.values()}
        at |= {job.kin for job in self.jobs if job.id in self._out}
        now, found = time.monotonic(), []
        preparing = any(job.stage == PREPARE for job in self._open())
        for job in self._open():
            if job.id in self._under or job.id in self._out or job.kin in at or self._later.get(job.id, 0.0) > now:
                continue
            if (preparing and job.stage not in (PREPARE, TRAIN)) or not self._states.is_ready(job):
                continue
            found.append(job)
            at.add(job.kin)
        return found

    # ---- what has come ----------------------------------------------------------------------------------------------

    def _take(self, worker: Worker, call: Call, result: Answer | Failure | Gone) -> None:
        if isinstance(result, Answer):
            for text in result.warnings:
                warnings.warn(text, AdvassayWarning, stacklevel=2)
            self._answers[call.step](self, worker, call, result)
        elif isinstance(result, Gone) or result.of_machine:
            self._again(call, result)
        else:
            self._failed(call.job, result)

    def _did(self, worker: Worker, call: Call, answer: Answer) -> None:
        job = call.job
        self._out.discard(job.id)
        if not answer.value:
            self._later[job.id] = time.monotonic() + 1.0
            return
        if job.stage == PREPARE:
            self._prepared.append(job.cohort)
        self._finish(job, answer.seconds)

    def _named(self, worker: Worker, call: Call, answer: Answer) -> None:
        """The name of a run's lock: taken by this process, for all workers that attack it."""
        under = self._under[call.job.id]
        if not under.lock.enter_context(self.session.job_lock(answer.value)):
            self._try_later(under, 1.0)
            return
        self._begin(worker, under)

    def _begin(self, worker: Worker, under: _Under) -> None:
        self._at[worker] = under.job.id
        self.workers.submit(worker, Call(under.job, "begin"), tuple(self._prepared), None)

    def _began(self, worker: Worker, call: Call, answer: Answer) -> None:
        under = self._under[call.job.id]
        under.busy = False
        under.seconds += answer.seconds
        if answer.value is None:
            self._try_later(under, 1.0)
            return
        if not isinstance(answer.value, BegunRun):
            self._end(under, answer.value)
            return
        under.queue = PieceQueue(answer.value)
        under.steps_left = answer.value.steps
        if answer.value.steps:
            under.task = call.job.what
            self.progress.start(under.task, answer.value.steps, STEPS)

    def _attacked(self, worker: Worker, call: Call, answer: Answer) -> None:
        under, done = self._under[call.job.id], answer.value
        assert isinstance(done, PieceDone)
        assert under.queue is not None
        assert call.piece is not None
        under.queue.done(call.piece, answer.seconds)
        under.seconds += answer.seconds
        self.pieces += 1
        self._steps += done.gradient_evaluations
        advance = min(under.steps_left, done.gradient_evaluations)
        under.steps_left -= advance
        self.progress.advance(under.task, advance)
        if self.log is not None:
            self.log.attacked(self.workers.node(worker), done, answer.seconds)

    def _ended(self, worker: Worker, call: Call, answer: Answer) -> None:
        under = self._under[call.job.id]
        assert under.queue is not None
        under.seconds += answer.seconds
        if aside := under.queue.set_aside:
            problem = AttackError(
                f"set aside: {call.job.what}, images {places(aside)} of its sample in order: each time they were "
                f"attacked the worker ended ({STRIKES} times).",
                "The same command tries them again; all that does not need them was done.",
            )
            self._set_aside(call.job, problem)
            self._close(under)
            return
        if not answer.value:
            self._lacks_rows(under)
            return
        self._end(under, answer.value)

    def _lacks_rows(self, under: _Under) -> None:
        """All pieces were said to be done, and the store does not show all their rows: what it lacks is done again."""
        key = f"rows {under.job.id}"
        self._strikes[key] += 1
        if self._strikes[key] >= STRIKES:
            raise StoreError(
                f"store: rows of {under.job.what} are not to be seen in {self.store.root} although workers wrote them "
                f"({STRIKES} times).",
                "Do all nodes see the same folder at this path, and are files of one node soon seen by the others?",
            )
        self._try_later(under, LACKING_SECONDS * 3 ** (self._strikes[key] - 1))

    def _try_later(self, under: _Under, seconds: float) -> None:
        self._close(under)
        self._later[under.job.id] = time.monotonic() + seconds

    def _end(self, under: _Under, run_id: str) -> None:
        if run_id:
            self._run_ids[under.job.id] = run_id
        self._close(under)
        self._finish(under.job, under.seconds)

    def _close(self, under: _Under) -> None:
        del self._under[under.job.id]
        under.lock.close()
        if under.task:
            self.progress.finish(under.task)

    def _finish(self, job: Job, seconds: float) -> None:
        self._states.finish(job)
        self._later.pop(job.id, None)
        self._remaining.add(job, seconds)
        rate = self._steps / max(1e-9, time.monotonic() - self._since)
        self._remaining.tell(self._open(), workers=self.workers.number(), steps_per_second=rate)

    _answers: dict[Step, Callable[[Dispatcher, Worker, Call, Answer], None]] = field(
        default_factory=lambda: {
            "do": Dispatcher._did,
            "lock name": Dispatcher._named,
            "begin": Dispatcher._began,
            "piece": Dispatcher._attacked,
            "end": Dispatcher._ended,
        }
    )

    # ---- what was lost ----------------------------------------------------------------------------------------------

    def _again(self, call: Call, why: Gone | Failure) -> None:
        """A worker was lost, or its machine could not: the call is given out again, unless it ends worker by worker."""
        blamed = not isinstance(why, Gone) or why.blamed
        under = self._under.get(call.job.id)
        if call.step == "piece":
            assert under is not None
            assert under.queue is not None
            assert call.piece is not None
            if not under.queue.lost(call.piece, blamed=blamed) and isinstance(why, Failure):
                raise _error(why)
            return
        key = f"{call.step} {call.job.id}"
        self._strikes[key] += blamed
        self._out.discard(call.job.id)
        if under is not None and call.step == "end":
            under.busy = under.ending = False
        elif under is not None:
            under.lock.close()
            del self._under[call.job.id]
        if self._strikes[key] < STRIKES:
            return
        if isinstance(why, Failure):
            raise _error(why)
        problem = AttackError(
            f"set aside: {call.job.what}: each time it was tried the worker ended ({STRIKES} times).",
            "The same command tries it again; all that does not need it was done.",
        )
        if under is not None and call.step == "end":
            self._close(under)
        self._set_aside(call.job, problem)

    def _set_aside(self, job: Job, problem: AdvassayError) -> None:
        self._states.lose(job)
        self.set_aside.append(problem)
        if self.log is not None:
            self.log.set_aside(problem.problem)

    def _failed(self, job: Job, failure: Failure) -> None:
        problem = _error(failure)
        if job.stage != PREPARE or not isinstance(problem, CohortError | SourceError):
            raise problem
        named = of_cohort(job.cohort, problem)
        if isinstance(named, CohortError):
            named.flow = failure.flow
        if self.failures is None:
            raise named
        self.failures[job.cohort] = named
        self._out.discard(job.id)
        self._states.lose(job)

    # ---- what is told -----------------------------------------------------------------------------------------------

    def _tell(self, *, now: bool = False) -> None:
        if self.log is None or not (now or time.monotonic() - self._told >= TELL_SECONDS):
            return
        self._told = time.monotonic()
        running = [job.what for job in self.jobs if job.id in self._out]
        for under in self._under.values():
            out = 0 if under.queue is None else under.queue.out
            running.append(f"{under.job.what} ({out} workers)")
        done = sum(self._states.is_finished(job) for job in self.jobs)
        self.log.write(done, len(self.jobs), [] if now else running, self.workers.number())


def _error(failure: Failure) -> Exception:
    """A worker's error, here."""
    kind = getattr(errors, failure.kind, None)
    if isinstance(kind, type) and issubclass(kind, AdvassayError):
        return kind(failure.problem, failure.fix)
    if failure.kind == "OSError":
        number, _, text = failure.problem.partition(" ")
        return OSError(int(number), text) if number.isdigit() else OSError(failure.problem)
    return RuntimeError(f"a worker failed: {failure.kind}: {failure.problem}")
