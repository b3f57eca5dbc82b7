"""What a study declares that the chance of its verdicts depends on, without opening an image."""

from __future__ import annotations

from dataclasses import dataclass

from advassay.attack_spec import Arm
from advassay.errors import SpecError
from advassay.specs import Study
from advassay.study.expected import expected, tell_stated
from advassay.study.place import Site


@dataclass(frozen=True)
class PlannedDesign:
    """The deciding arm's design.

    images  cohort → images that the arm attacks, before any of them is found misclassified
    sizes   training-set sizes of the largest series; seeds networks of each
    """

    arm: str
    doses: tuple[float, ...]
    images: dict[str, int]
    image_types: dict[str, str]
    sizes: tuple[int, ...]
    seeds: int


def planned_design(study: Study, site: Site) -> PlannedDesign:
    """The design of the arm that the analysis plan names (null: the first declared).

    Raises SpecError where its amplitudes are still to be found (epsilons: auto).
    """
    name = study.analysis.arm or next(iter(study.attack.arms))
    arm: Arm = study.attack.arm(name)
    if not arm.epsilons or isinstance(arm.epsilons, str):
        raise SpecError(
            f"attack.arms.{name}.epsilons: amplitudes are needed, got {arm.epsilons!r}.",
            "Run the study once for its range-finding, or name amplitudes.",
        )
    counts = {cohort: expected(study, cohort, site) for cohort in study.cohorts}
    tell_stated(counts)
    attacked = {c: n.validation if arm.images is None else min(arm.images, n.validation) for c, n in counts.items()}
    series = {c: _sizes(study.cohorts[c].train_sizes, n.training) for c, n in counts.items()}
    longest = max(series, key=lambda cohort: len(series[cohort]))
    return PlannedDesign(
        name, tuple(float(e) for e in arm.epsilons), attacked,
        {cohort: spec.image_type or "" for cohort, spec in study.cohorts.items()}, series[longest],
        len(study.cohorts[longest].train_seeds),
    )  # fmt: skip


def _sizes(declared: tuple[int | float, ...], training: int) -> tuple[int, ...]:
    """Numbers of training images; shares are of the whole training part."""
    found = {round(size * training) if isinstance(size, float) else int(size) for size in declared}
    return tuple(sorted(found))
