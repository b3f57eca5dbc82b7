"""The networks of a study: those that it trains on a cohort, and those that somebody hands over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from advassay.identity import ID_LENGTH
from advassay.spec.study_spec import Study

if TYPE_CHECKING:
    from advassay.cohorts import PreparedCohort

MAIN_NETWORK = "main network"


@dataclass(frozen=True)
class Network:
    """A network to train: on which part of the cohort's training images, and with which seed."""

    seed: int
    size: int | float | None = None
    """Training images, or their share of the training split; None = all of it."""
    primary: bool = False
    """The cohort's main network of the first seed: the one that single curves show."""
    architecture: str | None = None
    """None = the study's main one. Networks of another take part in transfer alone."""

    @property
    def main(self) -> bool:
        """Trained on the whole training split and attacked by every arm; the others feed the size series."""
        return self.size is None

    def train_ids(self, cohort: PreparedCohort) -> list[str]:
        """Its training images; none where the cohort has none."""
        ids = cohort.ids("training")
        return ids if self.size is None or not ids else cohort.training_subset(self.size, self.seed)

    def name(self, training: int) -> str:
        """Which of the cohort's networks, in words; `training`: images of the training split."""
        if self.architecture is not None:
            size = "" if self.size is None else f", {self.images(training)} training images"
            return f"{self.architecture}{size}, seed {self.seed}"
        if self.main:
            return MAIN_NETWORK if self.primary else f"{MAIN_NETWORK}, seed {self.seed}"
        return f"{self.images(training)} training images, seed {self.seed}"

    def images(self, training: int) -> int:
        """Training images, of `training` that the split has."""
        return training if self.size is None else round(self.size * training) if self.is_share else int(self.size)

    @property
    def is_share(self) -> bool:
        return isinstance(self.size, float)


@dataclass(frozen=True)
class ExternalNetwork:
    """A network that is not trained here: a checkpoint of somebody's own, or one that a store's runs name."""

    identity: str
    """The first digits of the SHA-256 of its weights, or as its runs name it."""
    path: Path | None = None
    """Its file; None where only its runs are known."""
    primary = False
    main = True

    def name(self, training: int) -> str:
        """Which network, in words."""
        return f"network {self.identity}"


def external_network(path: Path, weights_sha256: str) -> ExternalNetwork:
    """A checkpoint's file as a network. The bytes of its file name it, not what it says about itself."""
    return ExternalNetwork(weights_sha256[:ID_LENGTH], path)


def main_seeds(study: Study, cohort: str) -> range:
    """Seeds of the cohort's main networks, the primary one's first."""
    return range(study.training.seed, study.training.seed + study.cohorts[cohort].seeds)


def networks(study: Study, cohort: str) -> Iterator[Network]:
    """The cohort's main networks first, the primary one before the others, then each size × seed of its series; then
    the same of each further architecture, where the study has some.

    A member of the series with a main network's images and seed is the same network: its identity says so.
    """
    for seed in main_seeds(study, cohort):
        yield Network(seed, primary=seed == study.training.seed)
    spec = study.cohorts[cohort]
    for size in spec.train_sizes:
        for seed in spec.train_seeds:
            yield Network(seed, size)
    for architecture in (study.training.architectures or ())[1:]:
        for seed in main_seeds(study, cohort):
            yield Network(seed, architecture=architecture)
        for size in spec.train_sizes:
            for seed in spec.train_seeds:
                yield Network(seed, size, architecture=architecture)


def network_identity(
    study: Study, cohort: PreparedCohort, network: Network, data: Path | None, start_weights: str | None = None
) -> str:
    """The network's identity by content, known before it is trained.

    `start_weights`: SHA-256 that stands for the file of start weights where that is not on this machine.
    """
    from advassay.training import classifier_identity

    return classifier_identity(
        cohort,
        study.training.of(network.architecture),
        train_ids=network.train_ids(cohort),
        seed=network.seed,
        data=data,
        start_weights_sha256=start_weights,
    )
