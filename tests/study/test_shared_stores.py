"""Several processes fill one store: they share the work, nothing is done twice, and a killed one is in nobody's way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_missing_cohorts import LACKING
from tiny_study import TINY, assert_equal_records, cpu
from typer.testing import CliRunner

from advassay.cli.program import app
from advassay.errors import CohortError, StoreError, WaitingError
from advassay.records import open_records
from advassay.spec.study_spec import Study
from advassay.store_layout import Store
from advassay.study import parse_study
from advassay.study.jobs import PREPARE, TRAIN, enumerate_jobs
from advassay.study.launchers import local
from advassay.study.launchers.local import launch
from advassay.study.launchers.parts import Part, jobs_of_part
from advassay.study.run.runner import run, working
from advassay.study.store_locks import store_lock, work_session
from advassay.study.upkeep.superseded_runs import prune


def started(verb: str, study: Path, store: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "advassay.cli", verb, str(study), "--store", str(store), "--device", "cpu", *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def assert_done_once(store: Path) -> None:
    """Each run was worked on by one process alone, once; no lock is left."""
    for header in open_records(store).headers:
        assert (header.cost.sessions_started, header.cost.sessions_finished) == (1, 1), header.arm
    assert not Store(store).locks.exists()


def test_two_processes_share_one_study(study: Path, begun: Path, finished: Path) -> None:
    processes = [started("attack", study, begun) for _ in range(2)]
    told = [process.communicate(timeout=600)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told
    assert_equal_records(finished, begun)
    assert_done_once(begun)
    spent = [sum(h.cost.gradient_evaluations for h in open_records(at).headers) for at in (finished, begun)]
    assert spent[0] == spent[1]


def test_what_a_killed_process_was_at_another_one_takes_over(study: Path, begun: Path, finished: Path) -> None:
    first, second = (started("attack", study, begun, "--quiet") for _ in range(2))
    try:
        end = time.monotonic() + 300
        while not any(begun.glob("records/*/shards/*.parquet")) and time.monotonic() < end:
            time.sleep(0.01)
        first.send_signal(signal.SIGKILL)
        assert first.wait(timeout=60) == -signal.SIGKILL
        told = second.communicate(timeout=600)[1]
        assert second.returncode == 0, told
    finally:
        for process in (first, second):
            process.kill()
            process.communicate()
    assert_equal_records(finished, begun)
    with store_lock(Store(begun)):  # nobody is taken to be at work any more
        assert not list(begun.rglob("*.writing*"))


def test_three_parts_make_the_records_of_one_undivided_run(study: Path, begun: Path, finished: Path) -> None:
    parts = [started("run", study, begun, "--part", f"{number}/3") for number in (1, 2, 3)]
    told = [part.communicate(timeout=900) for part in parts]
    assert [part.returncode for part in parts] == [0, 0, 0], told
    assert_equal_records(finished, begun)
    assert_done_once(begun)
    assert not (begun / "report").exists()
    assert all("is done" in err and out == "" for out, err in told)
    rows = json.loads(CliRunner().invoke(app, ["status", str(begun), "--json"]).stdout)["rows"]
    assert all(row["have"] == row["total"] for row in rows if not row["at_most"])


def test_a_part_without_its_inputs_says_which_they_are_and_ends_with_a_code_of_its_own(
    study: Path, begun: Path, tiny: Study
) -> None:
    numbers = [n for n in (1, 2, 3) if not {j.id for j in enumerate_jobs(tiny) if j.stage == PREPARE}
               & jobs_of_part(tiny, Part(n, 3))]  # fmt: skip
    asked = ["run", str(study), "--store", str(begun), "--device", "cpu", "--part", f"{numbers[0]}/3", "--no-wait"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 9
    assert "before preparation of X-TB (of another part); preparation of H-BR (of another part)" in done.stderr
    assert not (begun / "cohorts").exists()


def test_a_part_does_what_it_can_before_it_says_what_it_lacks(tiny: Study, begun: Path) -> None:
    jobs = enumerate_jobs(tiny)
    mine = {job.id for job in jobs if (job.stage, job.cohort) == (PREPARE, "H-BR") or job.stage == TRAIN}
    here = cpu(begun)
    with working(tiny, here) as session, pytest.raises(WaitingError, match="preparation of X-TB"):
        launch(jobs, here, session, mine=mine, wait=False)
    trained = [json.loads(path.read_text())["cohort"] for path in begun.glob("classifiers/*/training.json")]
    assert trained == ["H-BR", "H-BR"]


def test_a_job_that_another_process_is_at_is_left_to_it(tiny: Study, begun: Path) -> None:
    jobs = [job for job in enumerate_jobs(tiny) if job.stage in (PREPARE, TRAIN)]
    here = cpu(begun)
    with working(tiny, here) as session, work_session(here.store) as other:
        with other.job_lock("cohort-X-TB"), pytest.raises(WaitingError, match=r"X-TB \(another process is at it\)"):
            launch(jobs, here, session, wait=False)
        assert [path.name for path in (begun / "cohorts").iterdir()] == ["H-BR"]
        launch(jobs, here, session, wait=False)
    assert {path.name for path in (begun / "cohorts").iterdir()} == {"X-TB", "H-BR"}


def test_a_cohort_that_one_part_cannot_form_the_others_do_without(
    begun: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "GRACE", 0.0)
    lacking = parse_study(LACKING)
    failures = alternately(lacking, begun)
    assert [list(found) for found in failures] == [["X-TB"], ["X-TB"]]
    told = [found["X-TB"].problem for found in failures]
    assert sum("failed in another part" in problem for problem in told) == 1
    assert {header.cohort for header in open_records(begun).headers} == {"H-BR"}
    assert all("nowhere" not in path.read_text() for path in Store(begun).failed_jobs.iterdir())
    assert alternately(parse_study(TINY), begun) == [{}, {}]
    assert_equal_records(finished, begun)


def alternately(study: Study, store: Path) -> list[dict[str, CohortError]]:
    """Both parts of a study in turns, each as far as it can come. Returns the last failures of each."""
    failures: list[dict[str, CohortError]] = [{}, {}]
    left = [1, 2]
    for _ in range(6):
        for number in list(left):
            failures[number - 1] = {}
            try:
                run(study, cpu(store), failures[number - 1], part=Part(number, 2), wait=False)  # type: ignore[arg-type]
            except WaitingError:
                continue
            left.remove(number)
    assert not left
    return failures


def test_processes_at_work_on_another_version_of_the_study_are_not_joined(tiny: Study, copied: Path) -> None:
    other = parse_study(TINY, overrides=["attack.control_images=4"])
    with work_session(Store(copied)), pytest.raises(StoreError, match="another version of the study"):
        run(other, cpu(copied))
    with work_session(Store(copied)):
        run(tiny, cpu(copied))


def test_a_command_that_changes_the_whole_store_waits_for_nobody_and_disturbs_nobody(copied: Path) -> None:
    store = Store(copied)
    with work_session(store), pytest.raises(StoreError, match=f"process {os.getpid()} does"):
        prune(store, dry=True)
    prune(store, dry=True)
    with store_lock(store), pytest.raises(StoreError, match="one process at a time"), work_session(store):
        pass


def test_half_written_files_of_others_at_work_are_left_alone(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with work_session(store):
        half = store.root / "records" / ".rows.1-2.writing.parquet"
        half.parent.mkdir()
        half.touch()
        with work_session(store):
            assert half.exists()
        os.utime(half, (1, 1))
        with work_session(store):
            assert not half.exists()
        half.touch()
    with work_session(store):
        assert not half.exists()
    assert not store.locks.exists()
