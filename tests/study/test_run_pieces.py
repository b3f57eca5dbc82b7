"""A run attacked in pieces, by processes that only share the store, is the run that one process makes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_study import assert_equal_records, cpu

from advassay.spec.study_spec import Study
from advassay.study.jobs import ATTACK, RERUN, enumerate_jobs
from advassay.study.launchers.piece_queue import PieceQueue
from advassay.study.run.job_runner import JobRunner
from advassay.study.run.run_pieces import BegunRun
from advassay.study.run.runner import working


@pytest.mark.parametrize("workers", [1, 3])
def test_pieces_in_any_order_make_the_rows_of_one_process(
    tiny: Study, begun_singly: Path, finished_singly: Path, workers: int
) -> None:
    here = cpu(begun_singly)
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
    assert_equal_records(finished_singly, begun_singly)
