"""Second stage: prepared cohorts → networks in the store."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from advassay.checked_files import read_model
from advassay.documents import TrainingDocument
from advassay.errors import AdvassayWarning, StoreError
from advassay.layout import HEADER, TRAINING
from advassay.records import read_header
from advassay.records.store import TRAINING_HEALED
from advassay.specs import Study
from advassay.study.networks import Network, networks
from advassay.study.place import Site

if TYPE_CHECKING:
    from advassay.cohorts import PreparedCohort


def train_networks(study: Study, site: Site, cohorts: Sequence[str]) -> list[TrainingDocument]:
    """Train every network of `cohorts` that the store does not have yet. They must be prepared."""
    from advassay.cohorts import open_cohort

    documents = []
    for name in cohorts:
        cohort = open_cohort(site.store.cohort(name))
        documents += [train_network(study, cohort, network, site) for network in networks(study, name, cohort)]
    return documents


def train_network(study: Study, cohort: PreparedCohort, network: Network, site: Site) -> TrainingDocument:
    """Train one network, or return what the store has, scored on the cohort as it is now.

    Every size gets the same number of updates. Where two cohorts of the study train the same network, its document
    stays the first one's.
    """
    from advassay.training import train, updates_for
    from advassay.training.rescoring import rescored

    identity = identity_of(study, cohort, network, site)
    folder = site.store.classifier(identity)
    if not (folder / TRAINING).exists() and (runs := _runs_of(site, identity)):
        warnings.warn(
            f"{network.cohort}, {network.what}: trained again, its files are not in the store. {len(runs)} run(s) were "
            "recorded with it: they continue if the weights come out the same, and begin anew otherwise.",
            AdvassayWarning,
            stacklevel=2,
        )
    document = train(
        cohort,
        study.training,
        train_ids=list(network.train_ids),
        seed=network.seed,
        updates=updates_for(study.training, len(cohort.ids("training"))),
        folder=folder,
        data=site.data,
        device=site.device,
        progress=site.progress,
    )
    shared = document.cohort != network.cohort and document.cohort in study.cohorts
    return document if shared else rescored(document, cohort, folder, site.device)


def _runs_of(site: Site, classifier: str) -> list[str]:
    """run_ids of the recorded runs on a network, as far as their headers can be read."""
    found = []
    for folder in sorted(site.store.records.glob(f"*/{HEADER}")):
        try:
            header = read_header(folder.parent)
        except StoreError:
            continue
        if header.classifier == classifier:
            found.append(header.run_id)
    return found


def identity_of(
    study: Study, cohort: PreparedCohort, network: Network, site: Site, *, start_weights: str | None = None
) -> str:
    """The network's identity by content, known before it is trained.

    `start_weights`: SHA-256 that stands for the file of start weights where that is not on this machine.
    """
    from advassay.training import classifier_identity

    return classifier_identity(
        cohort,
        study.training,
        train_ids=list(network.train_ids),
        seed=network.seed,
        data=site.data,
        start_weights_sha256=start_weights,
    )


def recorded_start_weights(study: Study, site: Site) -> str | None:
    """SHA-256 of the study's start weights as the store's networks name it, where no data folder is given to look.

    None where there are no start weights, or a data folder has them. "" where the store has no network that began with
    them: then none of its networks is this study's.
    """
    if study.training.weights is None or site.data is not None:
        return None
    for path in sorted((site.store.root / "classifiers").glob(f"*/{TRAINING}")):
        document = read_model(path, TrainingDocument, TRAINING_HEALED)
        if document.spec.get("weights") == study.training.weights and document.start_weights_sha256:
            return document.start_weights_sha256
    return ""
