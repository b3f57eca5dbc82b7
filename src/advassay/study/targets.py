"""What is to be attacked: each trained network with the arms, amplitudes and images that concern it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advassay.attack_spec import Arm, step_size_name
from advassay.identity import canonical_float
from advassay.specs import AttackSpec, Study
from advassay.study.counting import Point
from advassay.study.doubling import DoublingPlan, doubling_plan
from advassay.study.networks import Network

if TYPE_CHECKING:
    from advassay.cohorts import PreparedCohort


@dataclass(frozen=True)
class Assignment:
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


def assignments(study: Study, network: Network, cohort: PreparedCohort) -> Iterator[Assignment]:
    """Every arm for a cohort's main networks; the series' arm at its amplitudes for the others."""
    if network.main:
        yield from all_arms(study, cohort, gallery=network.primary and study.keeps_gallery(cohort.preparation.cohort))
        return
    name, arm = series_arm(study.attack)
    position = list(study.attack.arms).index(name)
    yield Assignment(name, position, arm, tuple(cohort.attack_sample(arm.images)), controls=False)


def series_arm(attack: AttackSpec) -> tuple[str, Arm]:
    """The name of the arm that attacks the training-size series, and that arm at the series' amplitudes."""
    name = attack.series_arm or next(iter(attack.arms))
    arm = attack.arm(name)
    return name, arm if attack.series_epsilons is None else arm.model_copy(update={"epsilons": attack.series_epsilons})


def all_arms(study: Study, cohort: PreparedCohort, *, gallery: bool) -> Iterator[Assignment]:
    """Every arm in order; the first one also fills the gallery."""
    attack, analysis = study.attack, study.resolved_analysis()
    for position, name in enumerate(attack.arms):
        arm = attack.arm(name)
        ids = cohort.attack_sample(arm.images)
        kept = gallery_ids(ids, cohort) if gallery and position == 0 else frozenset()
        doubling = doubling_of(study, name)
        yield Assignment(
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
