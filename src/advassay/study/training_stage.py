"""Second stage: prepared cohorts → networks in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advassay.documents import TrainingDocument
from advassay.layout import TRAINING
from advassay.specs import Study
from advassay.study.networks import Network, networks
from advassay.study.place import Site

if TYPE_CHECKING:
    from advassay.cohorts import PreparedCohort


def train_networks(study: Study, site: Site) -> list[TrainingDocument]:
    """Train every network that the store does not have yet. Cohorts must be prepared."""
    from advassay.cohorts import open_cohort

    documents = []
    for name in study.cohorts:
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

    folder = site.store.classifier(identity_of(study, cohort, network, site))
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
        document = TrainingDocument.model_validate_json(path.read_text(encoding="utf-8"))
        if document.spec.get("weights") == study.training.weights and document.start_weights_sha256:
            return document.start_weights_sha256
    return ""
