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
    """The cohort's main network, attacked by every arm; the others feed the size series."""

    @property
    def what(self) -> str:
        """Which of the cohort's networks, in words."""
        return MAIN_NETWORK if self.primary else f"{len(self.train_ids)} training images, seed {self.seed}"


def networks(study: Study, name: str, cohort: PreparedCohort) -> Iterator[Network]:
    """The cohort's main network first, then each size × seed of its series.

    A member of the series with the main network's images and seed is the same network: its identity says so.
    """
    training = tuple(cohort.ids("training"))
    if not training:
        return
    yield Network(name, training, study.training.seed, primary=True)
    spec = study.cohorts[name]
    for size in spec.train_sizes:
        for seed in spec.train_seeds:
            yield Network(name, tuple(cohort.training_subset(size, seed)), seed, primary=False)
