"""What a study consists of: the networks to train, and each with the arms, amplitudes and images to attack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advassay.identity import canonical_float
from advassay.spec.attack_spec import Arm, step_size_name
from advassay.spec.study_spec import AttackSpec, Study
from advassay.study.gradient_counts import Point
from advassay.study.run.doubling_control import DoublingPlan, doubling_plan

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


@dataclass(frozen=True)
class AttackJob:
    """One run: a network attacked by one arm."""

    arm_name: str
    arm_position: int
    arm: Arm
    image_ids: tuple[str, ...]
    gallery_ids: frozenset[str] = frozenset()
    """Images whose attacked pixels are kept for figures."""
    controls: bool = True
    control_images: int = 16
    """Images of the sample that the controls run on."""
    doubling: DoublingPlan | None = None
    """What is attacked for twice the iterations too."""
    subgroups: tuple[str, ...] = ()
    """Columns of the cohort whose groups are compared."""

    @property
    def points(self) -> frozenset[Point]:
        """The arm's grid: (step size's name, ε)."""
        epsilons = [canonical_float(epsilon) for epsilon in self.arm.epsilons]
        return frozenset((step_size_name(rule), epsilon) for rule in self.arm.step_sizes for epsilon in epsilons)


GALLERY_PER_CLASS = 3


def attack_jobs(study: Study, network: Network, cohort: PreparedCohort) -> Iterator[AttackJob]:
    """Every arm for a cohort's main networks; the series' arm at its amplitudes for the others."""
    if network.main:
        yield from all_arms(study, cohort, gallery=network.primary and study.keeps_gallery(cohort.preparation.cohort))
        return
    name, arm = series_arm(study.attack)
    position = list(study.attack.arms).index(name)
    yield AttackJob(name, position, arm, tuple(cohort.attack_sample(arm.images)), controls=False)


def series_arm(attack: AttackSpec) -> tuple[str, Arm]:
    """The name of the arm that attacks the training-size series, and that arm at the series' amplitudes."""
    name = attack.series_arm or next(iter(attack.arms))
    arm = attack.arm(name)
    return name, arm if attack.series_epsilons is None else arm.model_copy(update={"epsilons": attack.series_epsilons})


def all_arms(study: Study, cohort: PreparedCohort, *, gallery: bool) -> Iterator[AttackJob]:
    """Every arm in order; the first one also fills the gallery."""
    attack, analysis = study.attack, study.resolved_analysis()
    for position, name in enumerate(attack.arms):
        arm = attack.arm(name)
        ids = cohort.attack_sample(arm.images)
        kept = gallery_ids(ids, cohort) if gallery and position == 0 else frozenset()
        doubling = doubling_of(study, name)
        yield AttackJob(
            name, position, arm, tuple(ids), kept, attack.controls, attack.control_images, doubling, analysis.subgroups
        )


def doubling_of(study: Study, arm: str) -> DoublingPlan | None:
    """The control with twice the iterations beside this arm; None where the study has none."""
    return doubling_plan(study.attack, study.resolved_analysis(), arm, len(study.cohorts))


def gallery_ids(image_ids: Sequence[str], cohort: PreparedCohort) -> frozenset[str]:
    """The first few images of each class: the sample's order is drawn by content, so this looks at no result."""
    counts: dict[int, int] = {}
    kept = []
    for image_id, label in zip(image_ids, cohort.labels(image_ids).tolist(), strict=True):
        counts[label] = counts.get(label, 0) + 1
        if counts[label] <= GALLERY_PER_CLASS:
            kept.append(image_id)
    return frozenset(kept)
