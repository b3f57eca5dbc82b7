"""Transfer as arrays: of every pair of a cohort's networks, which images mislead the target, attacked and as noise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from advassay.analysis.outcome_arrays import OutcomeArrays, load_outcomes
from advassay.records.run_header import RunHeader
from advassay.records.run_reader import Run
from advassay.records.store_reader import Records

Kind = Literal[
    "itself",
    "other seed",
    "other training subset, same seed",
    "other training subset, other seed",
    "other architecture",
]
"""What the target is to the source. other seed: same architecture and training images; subset: same architecture.
Networks of one architecture and seed begin with the same weights, whatever images they are trained on, so that what
transfers between them may come from there; so subsets of one seed stand apart."""
KINDS: tuple[Kind, ...] = (
    "other seed",
    "other training subset, same seed",
    "other training subset, other seed",
    "other architecture",
)
NOISE, ATTACKED = 1, 2
"""What the iterates of a transfer's rows are, after the clean image."""


@dataclass(frozen=True)
class TransferNetwork:
    """A network as source and target."""

    classifier: str
    architecture: str
    train_size: int | None
    full: bool
    seed: int | None

    @property
    def name(self) -> str:
        """Which network, in words; unique within a cohort."""
        size = "" if self.full else f", {self.train_size} images"
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"{self.architecture}{size}{seed}"


def kind_of_pair(source: TransferNetwork, target: TransferNetwork) -> Kind:
    """What the target is to the source.

    >>> full, part = TransferNetwork("a", "vit", 80, True, 0), TransferNetwork("b", "vit", 40, False, 0)
    >>> kind_of_pair(full, part), kind_of_pair(full, TransferNetwork("c", "resnet", 80, True, 0))
    ('other training subset, same seed', 'other architecture')
    """
    if source.classifier == target.classifier:
        return "itself"
    if source.architecture != target.architecture:
        return "other architecture"
    if source.full and target.full:
        return "other seed"
    same = source.seed == target.seed
    return "other training subset, same seed" if same else "other training subset, other seed"


@dataclass(frozen=True)
class CohortTransfer:
    """All pairs of networks of one cohort under one arm.

    networks    those with any run, by architecture (the main one first), size and seed
    epsilons    (epsilon,) float64, rising; those that every pair was attacked at
    image_ids   (image,) object
    patients    (image,) int32: code of the image's patient
    counted     (source, target, epsilon, image) bool: scored, no logit NaN, and both networks right on the clean image
    attacked    (source, target, epsilon, image) bool: the target errs on the image as attacked on the source
    noise       (source, target, epsilon, image) bool: it errs on random noise of the same size
    """

    header: RunHeader
    step_size: str
    networks: tuple[TransferNetwork, ...]
    epsilons: np.ndarray
    image_ids: np.ndarray
    patients: np.ndarray
    counted: np.ndarray
    attacked: np.ndarray
    noise: np.ndarray

    @cached_property
    def kinds(self) -> np.ndarray:
        """(source, target) object: `Kind` of each pair."""
        return np.array([[kind_of_pair(s, t) for t in self.networks] for s in self.networks], dtype=object)

    def pairs(self, *kinds: Kind) -> np.ndarray:
        """(source, target) bool: the pairs of these kinds; without any, all pairs of two networks."""
        return np.isin(self.kinds, list(kinds or KINDS))

    def at(self, epsilon: float) -> int:
        """Place of the recorded ε that is nearest to `epsilon`."""
        return int(np.argmin(np.abs(self.epsilons - epsilon)))


def cohort_transfers(records: Records, arm: str, step_size: str | None = None) -> tuple[CohortTransfer, ...]:
    """The transfers of each cohort with any under this arm and step size (None = the one recorded), in the study's
    order of cohorts.
    """
    found: dict[str, list[Run]] = {}
    for run in records.transfers:
        sizes = {point.step_size for point in run.header.points}
        if run.header.arm == arm and run.header.rows and (step_size is None or step_size in sizes):
            found.setdefault(run.header.cohort, []).append(run)
    order = {name: place for place, name in enumerate(records.cohorts)}
    names = sorted(found, key=lambda name: (order.get(name, len(order)), name))
    return tuple(_of_cohort([load_outcomes(run, step_size) for run in found[name]]) for name in names)


def _of_cohort(packs: Sequence[OutcomeArrays]) -> CohortTransfer:
    main = next((p.header.architecture for p in packs if p.header.primary), "")
    networks = sorted(
        {network for pack in packs for network in _pair(pack.header)},
        key=lambda n: (n.architecture != main, n.architecture, not n.full, n.train_size or 0, n.seed or 0),
    )
    place = {network.classifier: i for i, network in enumerate(networks)}
    grids = [set(pack.epsilons.tolist()) for pack in packs]
    epsilons = np.array(sorted(set.intersection(*grids)))
    patient_of = {i: p for pack in packs for i, p in zip(pack.image_ids, pack.patient_ids[pack.patients], strict=True)}
    image_ids = np.array(sorted(patient_of), dtype=object)
    shape = (len(networks), len(networks), len(epsilons), len(image_ids))
    counted, attacked, noise = (np.zeros(shape, bool) for _ in range(3))
    for pack in packs:
        s, t = place[str(pack.header.source_classifier)], place[pack.header.classifier]
        images, grid = np.searchsorted(image_ids, pack.image_ids), [pack.at(epsilon) for epsilon in epsilons]
        counted[s, t][:, images] = pack.attackable[grid]
        attacked[s, t][:, images] = pack.last[grid, ATTACKED]
        noise[s, t][:, images] = pack.last[grid, NOISE]
    right = np.stack([counted[i, i] for i in range(len(networks))])  # a source alone: what it takes rightly when clean
    counted &= right[:, None]
    patients = np.unique([patient_of[i] for i in image_ids], return_inverse=True)[1]
    header = next((pack.header for pack in packs if pack.header.primary), packs[0].header)
    return CohortTransfer(
        header, packs[0].step_size, tuple(networks), epsilons, image_ids, patients.astype(np.int32), counted,
        attacked & counted, noise & counted,
    )  # fmt: skip


def _pair(header: RunHeader) -> Iterable[TransferNetwork]:
    """Target and source."""
    yield TransferNetwork(header.classifier, header.architecture, header.train_size, header.full, header.seed)
    yield TransferNetwork(
        str(header.source_classifier), header.source_architecture, header.source_train_size,
        bool(header.source_full), header.source_seed,
    )  # fmt: skip
