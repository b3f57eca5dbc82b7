"""What a launcher on a cluster hands out, gives out again and sets aside, with workers that only say they worked."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from advassay.errors import CohortError, StoreError, WaitingError
from advassay.progress import Silent
from advassay.spec.study_spec import Study
from advassay.store_layout import Store
from advassay.study.jobs import ATTACK, CONTROLS, PREPARE, RERUN, enumerate_jobs
from advassay.study.launchers import dispatcher
from advassay.study.launchers.dispatcher import Answer, Call, Dispatcher, Failure, Gone
from advassay.study.launchers.piece_queue import PIECE_SECONDS, PieceQueue
from advassay.study.run.run_pieces import BegunRun, Piece, PieceDone
from advassay.study.store_locks import Session, work_session

POINTS = frozenset({("0.01", 0.1)})
IMAGES = 100
Result = Answer | Failure | Gone


class PretendedWorkers:
    """Answers each call as a worker would; `instead` may say otherwise."""

    def __init__(self, number: int = 3, instead: Callable[[Call], Result | None] = lambda call: None) -> None:
        self.calls: list[tuple[int, Call]] = []
        self._free, self._instead = set(range(number)), instead
        self._number = number
        self._came: list[tuple[int, Call, Result]] = []

    def idle(self) -> Sequence[int]:
        return sorted(self._free)

    def number(self) -> int:
        return self._number

    def node(self, worker: Any) -> str:
        return "here"

    def submit(self, worker: Any, call: Call, prepared: tuple[str, ...], patience: float | None) -> None:
        assert worker in self._free
        self._free.remove(worker)
        self.calls.append((worker, call))
        if call.job.stage != PREPARE and call.step == "begin":
            assert set(prepared)
        self._came.append((worker, call, self._instead(call) or answer(call)))

    def results(self, timeout: float) -> Sequence[tuple[int, Call, Result]]:
        if not self._came:
            return []
        worker, call, result = self._came.pop(0)
        self._free.add(worker)
        return [(worker, call, result)]

    def pieces(self) -> list[tuple[str, Piece, bool]]:
        return [(call.job.id, call.piece, call.rows_before) for _, call in self.calls if call.piece is not None]


def answer(call: Call) -> Answer:
    values: dict[str, Any] = {
        "do": True,
        "lock name": f"run-{call.job.kin}",
        "begin": BegunRun(f"run of {call.job.id}", (Piece(0, IMAGES, POINTS),), IMAGES, 8),
        "piece": None if call.piece is None else PieceDone(call.piece.images, call.piece.images, call.piece.images),
        "end": f"run of {call.job.id}",
    }
    return Answer(values[call.step], 0.01)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with work_session(Store(tmp_path / "store")) as opened:
        yield opened


def dispatched(study: Study, workers: PretendedWorkers, session: Session, **more: Any) -> Dispatcher:
    return Dispatcher(enumerate_jobs(study), workers, session.store, session, Silent(), **more)


def attacks(study: Study) -> set[str]:
    return {job.id for job in enumerate_jobs(study) if job.stage in (ATTACK, RERUN)}


def test_every_job_is_done_once_after_what_it_waits_for_and_every_image_once(tiny: Study, session: Session) -> None:
    workers = PretendedWorkers()
    assert set(dispatched(tiny, workers, session).run()) == attacks(tiny)
    ended = [call.job for _, call in workers.calls if call.step in ("do", "end")]
    assert Counter(job.id for job in ended) == Counter(job.id for job in enumerate_jobs(tiny))
    place = {job.id: number for number, job in enumerate(ended)}
    assert all(place[before] < place[job.id] for job in ended for before in job.waits_for)
    for job in attacks(tiny):
        images = [i for id_, piece, _ in workers.pieces() if id_ == job for i in range(piece.start, piece.stop)]
        assert sorted(images) == list(range(IMAGES))


def test_no_attack_begins_before_every_cohort_is_prepared(tiny: Study, session: Session) -> None:
    workers = PretendedWorkers()
    dispatched(tiny, workers, session).run()
    stages = [call.job.stage for _, call in workers.calls]
    assert max(n for n, stage in enumerate(stages) if stage == PREPARE) < stages.index(ATTACK)


def test_a_worker_goes_on_with_the_run_whose_network_it_has_loaded(tiny: Study, session: Session) -> None:
    workers = PretendedWorkers(2)
    dispatched(tiny, workers, session).run()
    by_worker: dict[int, list[str]] = {}
    for worker, call in workers.calls:
        if call.piece is not None:
            by_worker.setdefault(worker, []).append(call.job.id)
    for jobs in by_worker.values():
        assert sum(one != other for one, other in pairwise(jobs)) < len(attacks(tiny))


def test_what_a_lost_worker_was_at_is_given_out_again_and_its_rows_are_looked_for(
    tiny: Study, session: Session
) -> None:
    lost: list[Call] = []

    def instead(call: Call) -> Result | None:
        if call.piece is not None and len(lost) < 2 and call not in lost:
            lost.append(call)
            return Gone(blamed=True)
        return None

    workers = PretendedWorkers(instead=instead)
    found = dispatched(tiny, workers, session)
    found.run()
    assert found.set_aside == []
    for call in lost:
        assert [again for id_, piece, again in workers.pieces() if (id_, piece) == (call.job.id, call.piece)] == [
            False,
            True,
        ]


def test_a_piece_that_ends_three_workers_is_set_aside_and_the_study_goes_on(tiny: Study, session: Session) -> None:
    job = next(job for job in enumerate_jobs(tiny) if job.stage == ATTACK)

    def instead(call: Call) -> Result | None:
        poisonous = call.job.id == job.id and call.piece is not None and call.piece.start == 0
        return Gone(blamed=True) if poisonous else None

    workers = PretendedWorkers(instead=instead)
    found = dispatched(tiny, workers, session)
    run_ids = found.run()
    assert str(found.set_aside[0]).startswith(f"set aside: {job.what}, images 1-8 of its sample")
    assert sum(id_ == job.id and piece.start == 0 for id_, piece, _ in workers.pieces()) == 3
    beside = {one.id for one in enumerate_jobs(tiny) if one.stage in (CONTROLS, RERUN) and job.id in one.waits_for}
    assert set(run_ids) == attacks(tiny) - {job.id} - beside
    assert not {call.job.id for _, call in workers.calls} & beside
    images = sum(piece.images for id_, piece, _ in workers.pieces() if id_ == job.id)
    assert images == IMAGES + 2 * 8


def test_a_piece_is_not_blamed_for_the_loss_of_a_machine(tiny: Study, session: Session) -> None:
    lost = Counter[Call]()

    def instead(call: Call) -> Result | None:
        if call.piece is None or call.piece.start or sum(lost.values()) >= 5:
            return None
        lost[call] += 1
        return Gone(blamed=False)

    found = dispatched(tiny, PretendedWorkers(instead=instead), session)
    found.run()
    assert found.set_aside == []


def test_a_full_disk_everywhere_ends_the_command_with_what_the_system_says(tiny: Study, session: Session) -> None:
    full = Failure("OSError", f"{errno.ENOSPC} No space left on device", of_machine=True)
    workers = PretendedWorkers(instead=lambda call: full if call.piece is not None else None)
    with pytest.raises(OSError, match="No space left") as caught:
        dispatched(tiny, workers, session).run()
    assert caught.value.errno == errno.ENOSPC


def test_an_error_of_the_system_without_a_number_keeps_its_words(tiny: Study, session: Session) -> None:
    gone = Failure("OSError", "the drive is not there", of_machine=True)
    workers = PretendedWorkers(instead=lambda call: gone if call.step == "begin" else None)
    with pytest.raises(OSError, match="the drive is not there"):
        dispatched(tiny, workers, session).run()


def test_a_run_that_workers_of_an_ended_command_are_at_is_tried_again(tiny: Study, session: Session) -> None:
    busy = Counter[str]()

    def instead(call: Call) -> Result | None:
        busy[call.job.id] += call.step == "begin"
        return Answer(None, 0.0) if call.step == "begin" and busy[call.job.id] == 1 else None

    workers = PretendedWorkers(instead=instead)
    assert set(dispatched(tiny, workers, session).run()) == attacks(tiny)
    assert {busy[job] for job in attacks(tiny)} == {2}


def test_rows_that_the_store_does_not_show_are_asked_for_again_and_their_lack_ends_the_command(
    tiny: Study, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "LACKING_SECONDS", 0.0)
    job = next(job for job in enumerate_jobs(tiny) if job.stage == ATTACK)
    lacking = [1]

    def instead(call: Call) -> Result | None:
        if call.job.id == job.id and call.step == "end" and lacking[0]:
            lacking[0] -= 1
            return Answer("", 0.1)
        return None

    workers = PretendedWorkers(instead=instead)
    assert set(dispatched(tiny, workers, session).run()) == attacks(tiny)
    assert [call.step for _, call in workers.calls if call.job.id == job.id].count("begin") == 2
    lacking[0] = 10
    with pytest.raises(StoreError, match="although workers wrote them"):
        dispatched(tiny, PretendedWorkers(instead=instead), session).run()
    assert lacking == [7]


def test_a_cohort_that_cannot_be_formed_does_not_stop_the_others(tiny: Study, session: Session) -> None:
    def instead(call: Call) -> Result | None:
        bad = call.job.stage == PREPARE and call.job.cohort == "X-TB"
        return Failure("CohortError", "class_rule: leaves none.", "Mend it.") if bad else None

    failures: dict[str, Any] = {}
    found = dispatched(tiny, PretendedWorkers(instead=instead), session, failures=failures)
    run_ids = found.run()
    assert failures["X-TB"].problem == "cohorts.X-TB: class_rule: leaves none."
    assert set(run_ids) == {job.id for job in enumerate_jobs(tiny) if job.id in attacks(tiny) and job.cohort != "X-TB"}
    with pytest.raises(CohortError, match="leaves none"):
        dispatched(tiny, PretendedWorkers(instead=instead), session).run()


def test_an_error_of_the_study_is_raised_as_it_is(tiny: Study, session: Session) -> None:
    bad = Failure("ClassifierError", "classifier: NaN logits.", "Train it again.")
    workers = PretendedWorkers(instead=lambda call: bad if call.step == "begin" else None)
    with pytest.raises(Exception, match="NaN logits") as caught:
        dispatched(tiny, workers, session).run()
    assert type(caught.value).__name__ == "ClassifierError"


def test_a_run_that_another_process_is_at_is_waited_for_or_named(tiny: Study, session: Session) -> None:
    job = next(job for job in enumerate_jobs(tiny) if job.stage == ATTACK)
    with (
        work_session(session.store) as other,
        other.job_lock(f"run-{job.id}"),
        pytest.raises(WaitingError, match="attack of X-TB"),
    ):
        dispatched(tiny, PretendedWorkers(), session, wait=False).run()
    assert set(dispatched(tiny, PretendedWorkers(), session, wait=False).run()) == attacks(tiny)


def test_a_finished_run_is_not_attacked_again(tiny: Study, session: Session) -> None:
    workers = PretendedWorkers(instead=lambda call: Answer("known", 0.0) if call.step == "begin" else None)
    assert set(dispatched(tiny, workers, session).run().values()) == {"known"}
    assert workers.pieces() == []


def test_pieces_are_whole_batches_that_take_the_wanted_time_and_become_smaller_at_the_end() -> None:
    queue = PieceQueue(BegunRun("run", (Piece(0, 1_000_000, POINTS),), 1, 32))
    sizes = []
    while queue.waiting:
        piece, again = queue.take(200)
        assert not again
        sizes.append(piece.images)
        queue.done(piece, seconds=piece.images * 0.1)
    assert sum(sizes) == 1_000_000
    assert sizes[0] == 32
    assert max(sizes) == PIECE_SECONDS / 0.1 // 32 * 32
    assert sizes[-1] <= 32
    assert all(size % 32 == 0 for size in sizes[:-1])
