"""Second stage: prepared cohorts → networks in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advassay.documents import TrainingDocument
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
    """Train one network, or return what the store has. Every size gets the same number of updates."""
    from advassay.training import train, updates_for

    return train(
        cohort,
        study.training,
        train_ids=list(network.train_ids),
        seed=network.seed,
        updates=updates_for(study.training, len(cohort.ids("training"))),
        folder=site.store.classifier(identity_of(study, cohort, network, site)),
        data=site.data,
        device=site.device,
        progress=site.progress,
    )


def identity_of(study: Study, cohort: PreparedCohort, network: Network, site: Site) -> str:
    """The network's identity by content, known before it is trained."""
    from advassay.training import classifier_identity

    ids = list(network.train_ids)
    return classifier_identity(cohort, study.training, train_ids=ids, seed=network.seed, data=site.data)
