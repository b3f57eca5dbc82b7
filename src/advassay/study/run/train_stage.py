"""One network, trained into the store or found there."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from advassay.checked_files import read_model
from advassay.errors import AdvassayWarning, StoreError
from advassay.records import read_header
from advassay.records.store_reader import TRAINING_HEALED
from advassay.spec.study_spec import Study
from advassay.store_documents import TrainingDocument
from advassay.store_layout import HEADER, TRAINING
from advassay.study.environment import RunEnvironment
from advassay.study.study_networks import Network, network_identity

if TYPE_CHECKING:
    from advassay.cohorts import PreparedCohort


def train_network(study: Study, cohort: PreparedCohort, network: Network, site: RunEnvironment) -> TrainingDocument:
    """Train one network of a prepared cohort, or return what the store has, scored on the cohort as it is now.

    Every size gets the same number of updates. Where two cohorts of the study train the same network, its document
    stays the first one's.
    """
    from advassay.training import train, updates_for
    from advassay.training.pipeline import rescore

    identity = network_identity(study, cohort, network, site.data)
    name, training = cohort.preparation.cohort, len(cohort.ids("training"))
    folder = site.store.classifier(identity)
    if not (folder / TRAINING).exists() and (runs := _runs_of(site, identity)):
        warnings.warn(
            f"{name}, {network.name(training)}: trained again, its files are not in the store. {len(runs)} run(s) were "
            "recorded with it: they continue if the weights come out the same, and begin anew otherwise.",
            AdvassayWarning,
            stacklevel=2,
        )
    document = train(
        cohort,
        study.training.of(network.architecture),
        train_ids=network.train_ids(cohort),
        seed=network.seed,
        updates=updates_for(study.training, training),
        folder=folder,
        data=site.data,
        device=site.device,
        progress=site.progress,
    )
    shared = document.cohort != name and document.cohort in study.cohorts
    return document if shared else rescore(document, cohort, folder, site.device)


def _runs_of(site: RunEnvironment, classifier: str) -> list[str]:
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


def recorded_start_weights(study: Study, site: RunEnvironment) -> str | None:
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
