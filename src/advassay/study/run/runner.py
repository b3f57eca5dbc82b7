"""A study from its file to its records: its jobs, done in this process, which may share them with others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from advassay.errors import DamagedError, SpecError, StoreError
from advassay.records import RunHeader
from advassay.spec.study_spec import Study
from advassay.store_documents import Preparation, TrainingDocument
from advassay.store_layout import Store
from advassay.study.config.name_checks import check_arms, check_classes, check_names
from advassay.study.environment import RunEnvironment
from advassay.study.jobs import ATTACK, CONTROLS, PREPARE, TRAIN, Job, Stage, enumerate_jobs
from advassay.study.launchers.local import launch
from advassay.study.launchers.parts import Part, jobs_of_part
from advassay.study.path_privacy import redact_paths
from advassay.study.range_search import with_stored_grids
from advassay.study.run.job_runner import Outcome
from advassay.study.run.prepare_stage import Failures, check_image_sizes, check_networks
from advassay.study.store_locks import Session, document_lock, work_session
from advassay.study.study_storage import store_study, stored_study


class Launcher(Protocol):
    """Has jobs done elsewhere; arguments and results as of `launch`."""

    def __call__(
        self, jobs: Sequence[Job], site: RunEnvironment, session: Session, failures: Failures | None, *, wait: bool
    ) -> dict[str, Outcome]: ...


def prepare(study: Study, site: RunEnvironment, failures: Failures | None = None) -> dict[str, Preparation]:
    """Prepare the study's cohorts in the store. Returns cohort → its document.

    failures: takes the error of each cohort that cannot be formed, while the others are prepared; without it the first
    such error is raised.
    """
    jobs, outcomes = _done(study, site, failures, [PREPARE])
    left = [(job.cohort, outcomes.get(job.id)) for job in jobs if job.stage == PREPARE]
    return {cohort: document for cohort, document in left if isinstance(document, Preparation)}


def train(study: Study, site: RunEnvironment, failures: Failures | None = None) -> list[TrainingDocument]:
    """Prepare, then train every network the store lacks. Returns the networks' documents.

    failures: as for `prepare`; the networks of the cohorts that could be formed are trained.
    """
    jobs, outcomes = _done(study, site, failures, [PREPARE, TRAIN])
    left = [outcomes.get(job.id) for job in jobs if job.stage == TRAIN]
    return [document for document in left if isinstance(document, TrainingDocument)]


def run(
    study: Study,
    site: RunEnvironment,
    failures: Failures | None = None,
    *,
    part: Part | None = None,
    wait: bool = True,
    launcher: Launcher | None = None,
) -> list[RunHeader]:
    """Prepare, train and attack whatever the store lacks. Returns the runs' headers.

    Each job skips what the store has, recognised by content: stopped at any point, the same call continues, and
    a study with more amplitudes, images, arms or seeds computes only what is new. Several processes may call it for one
    study and one store at once: what one is at, the others leave to it and wait for.
    failures: as for `prepare`; what comes after leaves out the cohorts that could not be formed, and the same call
    takes them up once they can be. Amplitudes of `epsilons: auto` are found over the cohorts that are there.
    part: only the jobs of this part; what they need of other parts is waited for. Without `wait`, WaitingError is
    raised where nothing else can be done, and says what is awaited.
    launcher: does the jobs instead of this process, such as `RayCluster(…).launch`; it takes no part.
    """
    if launcher is not None and part is not None:
        raise SpecError("--part: a part is done by one process, --on ray by many.", "Leave one of them away.")
    jobs, outcomes = _done(study, site, failures, None, part, wait=wait, launcher=launcher)
    return run_headers(jobs, outcomes)


def run_headers(jobs: Sequence[Job], outcomes: Mapping[str, Outcome]) -> list[RunHeader]:
    """The header of each declared run as its last job left it."""
    found: dict[str, RunHeader] = {}
    for job in jobs:
        header = outcomes.get(job.id)
        if job.stage in (ATTACK, CONTROLS) and isinstance(header, RunHeader):
            found[job.kin] = header
    return list(found.values())


attack = run  # the attack is the last stage: asking for it asks for those before it


def _done(
    study: Study,
    site: RunEnvironment,
    failures: Failures | None,
    stages: Sequence[Stage] | None,
    part: Part | None = None,
    *,
    wait: bool = True,
    launcher: Launcher | None = None,
) -> tuple[list[Job], dict[str, Outcome]]:
    """The jobs of `stages` (None = all), and what each left."""
    check_study(study, site.store)
    jobs = [job for job in enumerate_jobs(study) if stages is None or job.stage in stages]
    mine = None if part is None else jobs_of_part(study, part)
    with working(study, site, runs_networks=any(job.stage != PREPARE for job in jobs)) as session:
        if launcher is not None:
            return jobs, launcher(jobs, site, session, failures, wait=wait)
        return jobs, launch(jobs, site, session, failures, mine=mine, wait=wait)


def check_study(study: Study, store: Store) -> None:
    """Raise SpecError or CohortError for what is seen to be wrong before anything is read."""
    check_names(study, store)
    check_arms(study.attack)
    check_classes(study)
    check_image_sizes(study)
    check_networks(study)


@contextmanager
def working(study: Study, site: RunEnvironment, *, runs_networks: bool = True) -> Iterator[Session]:
    """A session in the store, which has the study; PyTorch is loaded only where the session `runs_networks`.

    Raises StoreError where other processes are at work there on another version of the study.
    """

    def begin(*, alone: bool) -> None:
        with document_lock(site.store, "study"):
            now = with_stored_grids(study, site.store)
            if not alone:
                _check_same(study, now, site.store)
            store_study(site.store, now)

    with work_session(site.store, begin) as session:
        if runs_networks:
            _use_threads(site)
        yield session


def _check_same(study: Study, now: Study, store: Store) -> None:
    """Raise StoreError where the store's study differs in more than in amplitudes that are found meanwhile."""
    try:
        held = stored_study(store)
    except DamagedError:
        return  # it is written anew
    found = {name: now.attack.arm(name).epsilons for name in study.attack.auto_arms if name in held.attack.arms}
    if held.with_epsilons(found) != redact_paths(now.with_epsilons(found)):
        raise StoreError(
            f"store: processes are at work in {store.root} on another version of the study.",
            "Wait for them to end, or use another --store; parts of one run need the same study and the same --set.",
        )


def _use_threads(site: RunEnvironment) -> None:
    if site.threads is not None:
        import torch

        torch.set_num_threads(site.threads)
