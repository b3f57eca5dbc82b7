"""A study's jobs: listed once, the same in every process, and all that a launcher needs."""

from __future__ import annotations

import json
import pickle
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tiny_study import TINY, assert_equal_records, cpu

from advassay.records import open_records
from advassay.spec.study_spec import Study
from advassay.study import parse_study
from advassay.study.jobs import ATTACK, CONTROLS, PREPARE, RERUN, TRAIN, CohortFacts, Job, enumerate_jobs, in_order
from advassay.study.launchers.local import launch
from advassay.study.launchers.parts import Part, jobs_of_part, parse_part, stated_facts
from advassay.study.plan.image_counts import count_images
from advassay.study.plan.study_plan import cohort_facts
from advassay.study.run.job_runner import JobRunner
from advassay.study.run.runner import working
from advassay.study.store_locks import work_session
from advassay.study.study_networks import Network

AUTO = parse_study(TINY, overrides=["attack.arms.C.epsilons=auto"])


def known(study: Study, store: Path) -> dict[str, CohortFacts]:
    here = cpu(store)
    return cohort_facts(study, {name: count_images(study, name, here) for name in study.cohorts}, here)


def test_jobs_are_listed_in_outline_with_counts_and_in_full_by_the_same_ids(
    tiny: Study, finished: Path, tmp_path: Path
) -> None:
    outline = enumerate_jobs(tiny)
    counted = enumerate_jobs(tiny, known(tiny, tmp_path / "absent"))
    full = enumerate_jobs(tiny, known(tiny, finished))
    ids = [job.id for job in outline]
    assert len(set(ids)) == len(ids)
    assert {job.id for job in full} <= set(ids)
    assert [job.id for job in counted] == [job.id for job in full]
    assert all(not job.costs for job in outline)
    assert [(job.id, [c.total for c in job.costs if not c.at_most]) for job in counted] == [
        (job.id, [c.total for c in job.costs if not c.at_most]) for job in full
    ]
    assert all(job.costs and job.outputs for job in full)
    held = {path.relative_to(finished).as_posix() for place in ("cohorts", "classifiers", "records")
            for path in (finished / place).iterdir()}  # fmt: skip
    made = {place for job in full if job.stage != RERUN for place in job.outputs}
    assert made == held - {run for job in full if job.stage == RERUN for run in job.outputs}


def test_a_member_of_the_series_that_is_the_main_network_is_no_second_job(tiny: Study, finished: Path) -> None:
    outline, full = enumerate_jobs(tiny), enumerate_jobs(tiny, known(tiny, finished))
    trains = [[job.network for job in jobs if job.stage == TRAIN and job.cohort == "H-BR"] for jobs in (outline, full)]
    assert trains == [
        [Network(0, primary=True), Network(0, 0.5), Network(0, 1.0)],
        [Network(0, primary=True), Network(0, 0.5)],
    ]


def test_a_job_waits_for_what_it_needs_and_nothing_waits_for_itself() -> None:
    jobs = enumerate_jobs(AUTO)
    by_id = {job.id: job for job in jobs}
    seen: set[str] = set()
    for job in in_order(jobs):
        assert set(job.waits_for) <= seen, job
        seen.add(job.id)
    for job in jobs:
        before = {by_id[id_].stage for id_ in job.waits_for}
        expected = {
            "prepare": set(), "train": {PREPARE}, "range-finding": {TRAIN}, "controls": {ATTACK}, "re-run": {ATTACK},
        }  # fmt: skip
        if job.stage in expected:
            assert before == expected[job.stage]
    attacks = [job for job in jobs if job.stage == ATTACK]
    ranges = {job.id for job in jobs if job.stage == "range-finding"}
    assert len(ranges) == 2
    assert all(ranges <= set(job.waits_for) for job in attacks)


def test_ids_follow_from_what_is_asked_for(tiny: Study) -> None:
    ids = {job.id for job in enumerate_jobs(tiny)}
    wider = parse_study(TINY, overrides=["attack.arms.A.epsilons=[0.02, 0.1, 0.06]", "cohorts.X-TB.title=Another"])
    assert {job.id for job in enumerate_jobs(wider)} == ids
    longer = {job.id for job in enumerate_jobs(parse_study(TINY, overrides=["training.updates=5"]))}
    assert {job.id for job in enumerate_jobs(tiny) if job.stage == PREPARE} == longer & ids
    other = parse_study(TINY, overrides=["sources.chest.seed=1"])
    changed = {job.cohort for job in enumerate_jobs(other) if job.id not in ids}
    assert changed == {"X-TB"}


def test_ids_are_the_same_in_another_process(tiny: Study, tmp_path: Path) -> None:
    (tmp_path / "jobs").write_bytes(pickle.dumps(enumerate_jobs(tiny)))
    code = (
        "import pickle, sys\n"
        "from advassay.study.jobs import enumerate_jobs\n"
        "jobs = pickle.loads(open(sys.argv[1], 'rb').read())\n"
        "again = enumerate_jobs(jobs[0].study)\n"
        "assert again == jobs\n"
        "print([job.id for job in again])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "jobs")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str([job.id for job in enumerate_jobs(tiny)])


def test_a_job_survives_pickling_whole(tiny: Study, finished: Path) -> None:
    for job in (*enumerate_jobs(AUTO), *enumerate_jobs(tiny, known(tiny, finished))):
        again = pickle.loads(pickle.dumps(job))
        assert again == job
        assert (again.study, again.costs, again.inputs, again.outputs) == (
            job.study,
            job.costs,
            job.inputs,
            job.outputs,
        )
        assert hash(again) == hash(job)


def admissible(jobs: Sequence[Job], seed: int) -> list[Job]:
    """The jobs in a random order in which each stands behind what it waits for."""
    draw, left, done, order = random.Random(seed), list(jobs), set(), []
    while left:
        ready = [job for job in left if set(job.waits_for) <= done]
        job = draw.choice(ready)
        left.remove(job)
        done.add(job.id)
        order.append(job)
    return order


@pytest.mark.parametrize("seed", [1, 2])
def test_jobs_alone_in_any_admissible_order_make_the_same_records(
    seed: int, tiny: Study, finished: Path, begun: Path
) -> None:
    order = admissible(enumerate_jobs(tiny), seed)
    assert [job.id for job in order] != [job.id for job in in_order(order)]
    sent = [pickle.dumps(job) for job in order]
    here = cpu(begun)
    with working(tiny, here) as session:
        runner = JobRunner(here, session)
        assert all(runner.do(pickle.loads(job))[0] for job in sent)
        assert all(runner.is_done(job) for job in order)
    assert_equal_records(finished, begun)
    headers = [{(h.cohort, h.arm, h.primary): h.controls for h in open_records(at).headers} for at in (finished, begun)]
    assert headers[0] == headers[1]


def test_nothing_is_done_of_an_empty_store(tiny: Study, begun: Path) -> None:
    here = cpu(begun)
    with working(tiny, here) as session:
        runner = JobRunner(here, session)
        assert not any(runner.is_done(job) for job in enumerate_jobs(tiny) if job.stage == PREPARE)


def test_what_a_store_lacks_is_not_done(tiny: Study, copied: Path) -> None:
    here = cpu(copied)
    jobs = [job for job in enumerate_jobs(tiny) if job.cohort == "X-TB"]
    shutil.rmtree(copied / "classifiers")
    shutil.rmtree(copied / "records")
    with work_session(here.store) as session:
        runner = JobRunner(here, session)
        assert [job.stage for job in jobs if runner.is_done(job)] == [PREPARE]


def test_a_launcher_does_what_its_jobs_are_and_no_more(tiny: Study, begun: Path) -> None:
    here = cpu(begun)
    jobs = [job for job in enumerate_jobs(tiny) if job.cohort == "X-TB" and job.stage in (PREPARE, TRAIN)]
    with working(tiny, here) as session:
        outcomes = launch(jobs, here, session)
    assert list(outcomes) == [job.id for job in jobs]
    assert [path.name for path in (begun / "cohorts").iterdir()] == ["X-TB"]
    assert not (begun / "records").exists()


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_each_job_is_in_one_part_and_those_on_one_run_in_the_same(parts: int) -> None:
    mine = [jobs_of_part(AUTO, Part(number, parts)) for number in range(1, parts + 1)]
    jobs = enumerate_jobs(AUTO)
    assert sorted(id_ for part in mine for id_ in part) == sorted(job.id for job in jobs)
    for job in jobs:
        if job.stage in (CONTROLS, RERUN):
            assert any({job.id, job.waits_for[0]} <= part for part in mine)


def test_parts_cost_about_the_same() -> None:
    cohorts = {f"X{i}": {"source": "s", "classes": {"a": {"x": 1}, "b": {"x": 2}}, "per_class": 500 * i}
               for i in range(1, 7)}  # fmt: skip
    study = Study.model_validate(
        {"name": "n", "sources": {"s": {"kind": "table", "path": "t.csv"}}, "cohorts": cohorts,
         "training": {"updates": 10}}
    )  # fmt: skip
    costs = {job.id: sum(c.total for c in job.costs)
             for job in enumerate_jobs(study, {name: stated_facts(study, name) for name in study.cohorts})}  # fmt: skip
    loads = [sum(costs[id_] for id_ in jobs_of_part(study, Part(number, 3))) for number in (1, 2, 3)]
    assert max(loads) < 1.3 * min(loads)


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2", ""])
def test_a_part_that_is_none_is_refused(text: str) -> None:
    from advassay.errors import SpecError

    with pytest.raises(SpecError, match="--part: expected i/n"):
        parse_part(text)


def test_jobs_say_what_they_are_without_a_number_that_is_not_known(tiny: Study) -> None:
    words = json.dumps([job.what for job in enumerate_jobs(tiny)])
    assert "training of H-BR, 0.5 of the training images, seed 0" in words
    assert "attack of X-TB, main network, arm C" in words
