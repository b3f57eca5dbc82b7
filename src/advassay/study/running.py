"""A study from its file to its records: the stages in order, under the store's lock."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from advassay.documents import Preparation, TrainingDocument
from advassay.records import RunHeader
from advassay.specs import Study
from advassay.study.attack_stage import attack_networks, check_arms
from advassay.study.keep import keep_study, locked
from advassay.study.name_checks import check_names
from advassay.study.place import Site
from advassay.study.preparing import Failures, check_image_sizes, prepare_cohorts
from advassay.study.range_finding import check_tuning_images, with_kept_grids
from advassay.study.training_stage import train_networks


def prepare(study: Study, site: Site, failures: Failures | None = None) -> dict[str, Preparation]:
    """Prepare the study's cohorts in the store. Returns cohort → its document.

    failures: takes the error of each cohort that cannot be formed, while the others are prepared; without it the first
    such error is raised.
    """
    made: dict[str, Preparation] = _in_store(study, site, partial(prepare_cohorts, failures=failures))
    return made


def train(study: Study, site: Site) -> list[TrainingDocument]:
    """Prepare, then train every network the store lacks. Returns the networks' documents."""
    return _in_store(study, site, prepare_cohorts, train_networks)


def run(study: Study, site: Site) -> list[RunHeader]:
    """Prepare, train and attack whatever the store lacks. Returns the runs' headers.

    Each stage skips what the store has, recognised by content: stopped at any point, the same call continues, and
    a study with more amplitudes, images, arms or seeds computes only what is new.
    """
    return _in_store(study, site, _prepare_for_attack, train_networks, attack_networks)


attack = run  # the attack is the last stage: asking for it asks for those before it


def _prepare_for_attack(study: Study, site: Site) -> None:
    """Prepare, and see before hours of training that what is to be found on tuning images can be."""
    prepared = prepare_cohorts(study, site)
    check_tuning_images(study, {name: sum(document.counts["tuning"].values()) for name, document in prepared.items()})


def _in_store(study: Study, site: Site, *stages: Callable[[Study, Site], Any]) -> Any:
    check_names(study, site.store)
    check_arms(study.attack)
    check_image_sizes(study)
    with locked(site.store):
        keep_study(site.store, with_kept_grids(study, site.store))
        _use_threads(site)
        for stage in stages:
            result = stage(study, site)
    return result


def _use_threads(site: Site) -> None:
    if site.threads is not None:
        import torch

        torch.set_num_threads(site.threads)
