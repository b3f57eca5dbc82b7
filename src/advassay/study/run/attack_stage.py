"""Third stage: networks × arms → records."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from advassay.checked_files import read_model
from advassay.errors import AdvassayWarning, SpecError, StoreError
from advassay.records import RunHeader, attack_rules, open_records
from advassay.records.store_reader import TRAINING_HEALED
from advassay.spec.study_spec import AttackSpec, Study
from advassay.store_documents import TrainingDocument
from advassay.store_layout import MODEL, TRAINING
from advassay.study.environment import RunEnvironment
from advassay.study.jobs import AttackJob, Network, attack_jobs, networks
from advassay.study.run.attack_header import trained_header
from advassay.study.run.execution_config import WorkloadSize, kind_of
from advassay.study.run.linked_rerun import attack_with_rerun
from advassay.study.run.preregistration import freeze_analysis_plan
from advassay.study.run.range_finding import find_ranges
from advassay.study.run.train_stage import identity_of
from advassay.study.study_storage import store_study

if TYPE_CHECKING:
    from advassay.attacks.engine.preflight_cache import ModelCache
    from advassay.classifier import Classifier
    from advassay.cohorts import PreparedCohort


def attack_networks(study: Study, site: RunEnvironment, names: Sequence[str]) -> list[RunHeader]:
    """Attack every network of the cohorts `names` by every arm that concerns it. Networks must be trained.

    The analysis plan that is frozen is the whole study's.

    Raises SpecError for two arms that would be one run, StoreError for a network that is missing.
    """
    from advassay.cohorts import open_cohort

    check_arms(study.attack)
    cohorts = [open_cohort(site.store.cohort(name)) for name in names]
    study = _with_amplitudes(study, cohorts, site)
    freeze_analysis_plan(study, site.store)
    work = _work(study, cohorts, site)
    superseded = superseded_runs(site)
    headers: list[RunHeader] = []
    for name, cohort in zip(names, cohorts, strict=True):
        primary = None
        for network in networks(study, name, cohort):
            identity = identity_of(study, cohort, network, site)
            primary = primary or identity
            headers += _attack_network(study, cohort, network, identity, identity == primary, site, work, superseded)
    return headers


def _with_amplitudes(study: Study, cohorts: Sequence[PreparedCohort], site: RunEnvironment) -> Study:
    """The study with amplitudes found for arms that declare `epsilons: auto`; the store keeps them in study.yaml."""
    if not study.attack.auto_arms:
        return study
    work = _work(study, cohorts, site)
    found = find_ranges(study, cohorts, site, lambda cohort: _main_network(study, cohort, site), work)
    store_study(site.store, found)
    return found


def _main_network(study: Study, cohort: PreparedCohort, site: RunEnvironment) -> tuple[str, LazyClassifier]:
    """Identity of a cohort's primary network, and its loader."""
    network = next(networks(study, cohort.preparation.cohort, cohort))
    identity = identity_of(study, cohort, network, site)
    trained(site, identity, network)
    return identity, LazyClassifier(site.store.classifier(identity) / MODEL, site.device)


def _work(study: Study, cohorts: Sequence[PreparedCohort], site: RunEnvironment) -> dict[str, WorkloadSize]:
    """Kind of network, image and precision → all that is to be done with it."""
    work: dict[str, WorkloadSize] = defaultdict(WorkloadSize)
    for cohort in cohorts:
        for network in networks(study, cohort.preparation.cohort, cohort):
            for assignment in attack_jobs(study, network, cohort):
                work[_kind(cohort, study.training.architecture, assignment, site)].add(assignment)
    return work


def _kind(cohort: PreparedCohort, architecture: str, assignment: AttackJob, site: RunEnvironment) -> str:
    side = cohort.preparation.image_size_px
    return kind_of(architecture, (cohort.preparation.channels, side, side), assignment.arm.precision, site.device)


def check_arms(attack: AttackSpec) -> None:
    """Raise SpecError where two arms differ only in what is an axis of one run: ε, step sizes, images."""
    seen: dict[str, str] = {}
    for name in attack.arms:
        rules = repr(sorted(attack_rules(attack.arm(name)).items()))
        if rules in seen:
            raise SpecError(
                f"attack.arms: {seen[rules]} and {name} differ only in epsilons, step_sizes, images: that is one run.",
                f"Put both into arm {seen[rules]} by listing all epsilons and step_sizes there.",
            )
        seen[rules] = name


def _attack_network(
    study: Study,
    cohort: PreparedCohort,
    network: Network,
    identity: str,
    is_primary: bool,
    site: RunEnvironment,
    work: Mapping[str, WorkloadSize],
    superseded: set[str],
) -> list[RunHeader]:
    training = trained(site, identity, network)
    classifier = LazyClassifier(site.store.classifier(identity) / MODEL, site.device)
    headers = []
    for assignment in attack_jobs(study, network, cohort):
        header = trained_header(study.name, cohort.preparation, training, assignment, primary=is_primary)
        touch = header.run_id in superseded
        same = work[_kind(cohort, header.architecture, assignment, site)]
        headers.append(attack_with_rerun(classifier, cohort, header, assignment, site, touch=touch, work=same))
    return headers


def superseded_runs(site: RunEnvironment) -> set[str]:
    """Runs in the store that do not count as their place's current one; none where records are damaged: the attack
    mends them."""
    if not site.store.records.is_dir():
        return set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AdvassayWarning)  # what is missing is about to be computed
        try:
            return {header.run_id for header in open_records(site.store.root).superseded}
        except StoreError:
            return set()


def trained(site: RunEnvironment, identity: str, network: Network) -> TrainingDocument:
    """The network's document. Raises StoreError where it has not been trained."""
    path = site.store.classifier(identity) / TRAINING
    try:
        return read_model(path, TrainingDocument, TRAINING_HEALED)
    except FileNotFoundError:
        raise StoreError(
            f"classifiers: a network of {network.cohort} with {len(network.train_ids)} training images is needed, "
            "found none.",
            "Run `advassay train` with the same study first.",
        ) from None


class LazyClassifier:
    """Loads a network's file when first called, and keeps it for the other arms."""

    def __init__(self, path: Path, device: str) -> None:
        self._path, self._device = path, device
        self._classifier: Classifier | None = None
        self.shared: ModelCache | None = None
        """What the arms' attacks on it share."""

    def __call__(self) -> Classifier:
        if self._classifier is None:
            from advassay.attacks.engine.preflight_cache import ModelCache
            from advassay.training import load_classifier

            self._classifier, self.shared = load_classifier(self._path, device=self._device), ModelCache()
        return self._classifier
