"""A run attacked in pieces, by processes that only share the store, is the run that one process makes."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_study import assert_equal_records, cpu

from advassay.spec.study_spec import Study
from advassay.study.jobs import ATTACK, RERUN, enumerate_jobs
from advassay.study.launchers.piece_queue import PieceQueue
from advassay.study.run import job_runner
from advassay.study.run.job_runner import JobRunner
from advassay.study.run.run_pieces import BegunRun, Piece
from advassay.study.run.runner import working


@pytest.mark.parametrize("workers", [1, 3])
def test_pieces_in_any_order_make_the_rows_of_one_process(
    tiny: Study, begun: Path, finished: Path, workers: int
) -> None:
    here = cpu(begun)
    with working(tiny, here) as session:
        runners = [JobRunner(here, session) for _ in range(workers)]
        turn = 0
        for job in enumerate_jobs(tiny):
            turn += 1
            runner = runners[turn % workers]
            for one in runners:
                one.know_prepared(tiny.cohorts)
            if job.stage not in (ATTACK, RERUN):
                assert runner.do(job)[0]
                continue
            found = runner.begin(job)
            if not isinstance(found, BegunRun):
                continue
            queue = PieceQueue(replace(found, batch_images=3))
            pieces = []
            while queue.waiting:
                pieces.append(queue.take(workers)[0])
            for piece in reversed(pieces):
                turn += 1
                done = runners[turn % workers].attack_piece(job, piece, rows_before=False)
                assert done.images == piece.images
                again = runners[turn % workers].attack_piece(job, piece, rows_before=True)
                assert again.rows == again.gradient_evaluations == 0
            runners[turn % workers].end(job)
    assert_equal_records(finished, begun)


HOLDER = """
import sys, time
from pathlib import Path
from advassay.store_layout import Store
from advassay.study.store_locks import work_session
with work_session(Store(Path(sys.argv[1]))) as session, session.step_lock(sys.argv[2], 0, 5):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_run_is_not_begun_while_a_worker_of_an_ended_command_is_at_it(
    tiny: Study, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = cpu(copied)
    job = next(job for job in enumerate_jobs(tiny) if job.stage == ATTACK)
    with working(tiny, here) as session:
        runner = JobRunner(here, session)
        run_id = runner.begin(job)
        assert isinstance(run_id, str)
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(copied), run_id], stdout=subprocess.PIPE, text=True
        )
        assert holder.stdout is not None
        with holder, holder.stdout:
            assert holder.stdout.readline() == "held\n"
            assert session.steps_under_way(run_id) == [(0, 5)]
            assert runner.begin(job) is None
            monkeypatch.setattr(job_runner, "OTHERS_SECONDS", 1.0)
            waits = [time.monotonic()]
            for start in (5, 4):  # beside the other's images, and among them
                runner.attack_piece(job, Piece(start, start + 1, frozenset()), rows_before=True)
                waits.append(time.monotonic())
            assert waits[1] - waits[0] < 1.0 <= waits[2] - waits[1]
            holder.kill()
        assert runner.begin(job) == run_id
        assert session.steps_under_way(run_id) == []


def test_the_end_of_a_run_says_whether_the_store_has_all_its_rows(tiny: Study, copied: Path) -> None:
    here = cpu(copied)
    job = next(job for job in enumerate_jobs(tiny) if job.stage == ATTACK)
    with working(tiny, here) as session:
        runner = JobRunner(here, session)
        run_id = runner.begin(job)
        assert isinstance(run_id, str)
        assert runner.end(job) == run_id
        next(here.store.run(run_id).glob("shards/*.parquet")).unlink()
        assert runner.end(job) == ""
