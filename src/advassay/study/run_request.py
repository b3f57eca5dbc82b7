"""What one run is asked to hold: an arm's grid on a sample of a prepared cohort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advassay.spec.attack_components import UPDATE_RULES
from advassay.spec.attack_spec import Arm
from advassay.spec.study_spec import Study
from advassay.study.gradient_counts import Point
from advassay.study.jobs import ON_IMAGES, Job, doubling_of, points_of
from advassay.study.run.doubling_control import DoublingPlan
from advassay.study.study_networks import ExternalNetwork

if TYPE_CHECKING:
    from advassay.cohorts import PreparedCohort

GALLERY_PER_CLASS = 3


@dataclass(frozen=True)
class RunRequest:
    """What one run is to hold: an arm's grid on a sample of a prepared cohort, and what runs beside it."""

    arm_name: str
    arm_position: int
    arm: Arm
    image_ids: tuple[str, ...]
    gallery_ids: frozenset[str] = frozenset()
    """Images whose attacked pixels are kept for figures."""
    controls: bool = True
    """A search has none: they ask what a trajectory does at ε = 0 and in twice the iterations."""
    control_images: int = 16
    """Images of the sample that the controls run on."""
    doubling: DoublingPlan | None = None
    """What is attacked for twice the iterations too."""
    subgroups: tuple[str, ...] = ()
    """Columns of the cohort whose groups are compared."""

    @property
    def points(self) -> frozenset[Point]:
        """The arm's grid: (step size's name, ε)."""
        return points_of(self.arm)


def run_request(job: Job, cohort: PreparedCohort, study: Study | None = None) -> RunRequest:
    """What the run of an attack job, or of a job beside it, is to hold; `study`: with amplitudes found."""
    study = study or job.study
    arm, position = job.declared_arm(study), list(study.attack.arms).index(job.arm)
    ids = tuple(cohort.attack_sample(arm.images))
    if job.series or job.stage in ON_IMAGES:
        return RunRequest(job.arm, position, arm, ids, controls=False)
    shown = isinstance(job.network, ExternalNetwork) or (job.network is not None and job.network.primary)
    kept = shown and position == 0 and study.keeps_gallery(job.cohort)
    return RunRequest(
        job.arm,
        position,
        arm,
        ids,
        gallery_ids(ids, cohort) if kept else frozenset(),
        study.attack.controls and not UPDATE_RULES.get(arm.update).searches,
        study.attack.control_images,
        doubling_of(study, job.arm),
        study.resolved_analysis().subgroups,
    )


def gallery_ids(image_ids: Sequence[str], cohort: PreparedCohort) -> frozenset[str]:
    """The first few images of each class: the sample's order is drawn by content, so this looks at no result."""
    counts: dict[int, int] = {}
    kept = []
    for image_id, label in zip(image_ids, cohort.labels(image_ids).tolist(), strict=True):
        counts[label] = counts.get(label, 0) + 1
        if counts[label] <= GALLERY_PER_CLASS:
            kept.append(image_id)
    return frozenset(kept)
