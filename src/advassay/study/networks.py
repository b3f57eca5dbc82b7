"""Which networks a study trains: one per cohort, and the members of its training-size series."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advassay.specs import Study

if TYPE_CHECKING:
    from advassay.cohorts import PreparedCohort


MAIN_NETWORK = "main network"


@dataclass(frozen=True)
class Network:
    """One network to train and attack."""

    cohort: str
    train_ids: tuple[str, ...]
    seed: int
    primary: bool
    """The cohort's main network of the first seed: the one that single curves show."""
    main: bool
    """Trained on the whole training split and attacked by every arm; the others feed the size series."""

    @property
    def what(self) -> str:
        """Which of the cohort's networks, in words."""
        if self.main:
            return main_network(self.seed, primary=self.primary)
        return f"{len(self.train_ids)} training images, seed {self.seed}"


def main_network(seed: int, *, primary: bool) -> str:
    """A main network in words."""
    return MAIN_NETWORK if primary else f"{MAIN_NETWORK}, seed {seed}"


def main_seeds(study: Study, name: str) -> range:
    """Seeds of the cohort's main networks, the primary one's first."""
    return range(study.training.seed, study.training.seed + study.cohorts[name].seeds)


def networks(study: Study, name: str, cohort: PreparedCohort) -> Iterator[Network]:
    """The cohort's main networks first, the primary one before the others, then each size × seed of its series.

    A member of the series with a main network's images and seed is the same network: its identity says so.
    """
    training = tuple(cohort.ids("training"))
    if not training:
        return
    for seed in main_seeds(study, name):
        yield Network(name, training, seed, primary=seed == study.training.seed, main=True)
    spec = study.cohorts[name]
    for size in spec.train_sizes:
        for seed in spec.train_seeds:
            yield Network(name, tuple(cohort.training_subset(size, seed)), seed, primary=False, main=False)
