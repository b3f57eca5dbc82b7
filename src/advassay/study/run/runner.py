"""A study from its file to its records: the stages in order, under the store's lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from advassay.records import RunHeader
from advassay.spec.study_spec import Study
from advassay.store_documents import Preparation, TrainingDocument
from advassay.study.config.name_checks import check_names
from advassay.study.environment import RunEnvironment
from advassay.study.run.attack_stage import attack_networks, check_arms
from advassay.study.run.prepare_stage import Failures, check_image_sizes, prepare_cohorts
from advassay.study.run.range_finding import check_tuning_images, with_stored_grids
from advassay.study.run.train_stage import train_networks
from advassay.study.study_storage import store_lock, store_study


def prepare(study: Study, site: RunEnvironment, failures: Failures | None = None) -> dict[str, Preparation]:
    """Prepare the study's cohorts in the store. Returns cohort → its document.

    failures: takes the error of each cohort that cannot be formed, while the others are prepared; without it the first
    such error is raised.
    """
    with _working(study, site):
        return prepare_cohorts(study, site, failures)


def train(study: Study, site: RunEnvironment, failures: Failures | None = None) -> list[TrainingDocument]:
    """Prepare, then train every network the store lacks. Returns the networks' documents.

    failures: as for `prepare`; the networks of the cohorts that could be formed are trained.
    """
    with _working(study, site):
        return train_networks(study, site, list(prepare_cohorts(study, site, failures)))


def run(study: Study, site: RunEnvironment, failures: Failures | None = None) -> list[RunHeader]:
    """Prepare, train and attack whatever the store lacks. Returns the runs' headers.

    Each stage skips what the store has, recognised by content: stopped at any point, the same call continues, and
    a study with more amplitudes, images, arms or seeds computes only what is new.
    failures: as for `prepare`; the stages after it leave out the cohorts that could not be formed, and the same call
    takes them up once they can be. Amplitudes of `epsilons: auto` are found over the cohorts that are there.
    """
    with _working(study, site):
        formed = _prepare_for_attack(study, site, failures)
        if not formed:
            return []
        train_networks(study, site, formed)
        return attack_networks(study, site, formed)


attack = run  # the attack is the last stage: asking for it asks for those before it


def _prepare_for_attack(study: Study, site: RunEnvironment, failures: Failures | None) -> list[str]:
    """Prepare, and see before hours of training that what is to be found on tuning images can be. Returns the cohorts
    that could be formed."""
    prepared = prepare_cohorts(study, site, failures)
    check_tuning_images(study, {name: sum(document.counts["tuning"].values()) for name, document in prepared.items()})
    return list(prepared)


@contextmanager
def _working(study: Study, site: RunEnvironment) -> Iterator[None]:
    """What holds for all stages: names and sizes are checked, the store is locked and has the study."""
    check_names(study, site.store)
    check_arms(study.attack)
    check_image_sizes(study)
    with store_lock(site.store):
        store_study(site.store, with_stored_grids(study, site.store))
        _use_threads(site)
        yield


def _use_threads(site: RunEnvironment) -> None:
    if site.threads is not None:
        import torch

        torch.set_num_threads(site.threads)
