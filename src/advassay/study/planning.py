"""Find out what a study consists of and what the store already has; nothing is written."""

from __future__ import annotations

from collections.abc import Iterator

from advassay.attack_spec import Arm
from advassay.layout import TRAINING
from advassay.specs import Study
from advassay.study.attack_stage import check_arms
from advassay.study.counting import gradient_steps
from advassay.study.estimate import Estimator
from advassay.study.expected import Expected, expected
from advassay.study.header import recorded_images
from advassay.study.networks import networks
from advassay.study.place import Site
from advassay.study.planned import Plan, PlanRow
from advassay.study.preparing import check_image_sizes
from advassay.study.targets import assignments
from advassay.study.training_stage import identity_of


def plan(study: Study, site: Site, *, timed: bool = True) -> Plan:
    """What the study consists of and what the store at `site` already has.

    `timed`: measure this machine for a few seconds and estimate the time of what is missing.
    """
    check_arms(study.attack)
    check_image_sizes(study)
    estimator = Estimator(study, site, timed)
    rows = [row for name in study.cohorts for row in _cohort_rows(study, name, site)]
    return Plan(study.name, tuple(estimator.estimated(row) for row in rows))


def _cohort_rows(study: Study, name: str, site: Site) -> Iterator[PlanRow]:
    counts = expected(study, name, site)
    have = counts.images if counts.is_prepared else 0
    yield PlanRow("prepare", name, "images", "images", counts.images, have, basis=counts.basis)
    yield from _known_rows(study, name, site) if counts.is_prepared else _unknown_rows(study, name, counts)


def _known_rows(study: Study, name: str, site: Site) -> Iterator[PlanRow]:
    """Of a prepared cohort: every identity is known, so the store can be asked."""
    from advassay.cohorts import open_cohort
    from advassay.training import updates_for

    cohort = open_cohort(site.store.cohort(name))
    updates = updates_for(study.training, len(cohort.ids("training")))
    seen: set[str] = set()
    for network in networks(study, name, cohort):
        identity = identity_of(study, cohort, network, site)
        passes = updates * study.training.batch_size
        done = passes if (site.store.classifier(identity) / TRAINING).exists() else 0
        if identity not in seen:
            yield PlanRow("train", name, network.what, "training passes", passes, done, basis="prepared")
        seen.add(identity)
        for assignment in assignments(study, network, cohort):
            steps, images = gradient_steps(assignment.arm), len(assignment.image_ids)
            recorded = recorded_images(site.store, cohort.preparation, identity, assignment)
            what = f"{network.what}, arm {assignment.arm_name}"
            yield PlanRow(
                "attack",
                name,
                what,
                "gradient steps",
                images * steps,
                recorded * steps,
                "prepared",
                assignment.arm_name,
            )


def _unknown_rows(study: Study, name: str, counts: Expected) -> Iterator[PlanRow]:
    from advassay.training import updates_for

    if not counts.training:
        return
    spec = study.cohorts[name]
    passes = updates_for(study.training, counts.training) * study.training.batch_size
    main, *_ = study.attack.arms
    yield PlanRow("train", name, "main network", "training passes", passes, 0, basis=counts.basis)
    for arm_name in study.attack.arms:
        yield _attack_row(name, f"main network, arm {arm_name}", arm_name, study.attack.arm(arm_name), counts)
    series = study.attack.arm(main)
    if study.attack.series_epsilons is not None:
        series = series.model_copy(update={"epsilons": study.attack.series_epsilons})
    for size in spec.train_sizes:
        for seed in spec.train_seeds:
            what = f"{size if isinstance(size, int) else f'{size:.0%}'} of training, seed {seed}"
            yield PlanRow("train", name, what, "training passes", passes, 0, basis=counts.basis)
            yield _attack_row(name, f"{what}, arm {main}", main, series, counts)


def _attack_row(cohort: str, what: str, arm_name: str, arm: Arm, counts: Expected) -> PlanRow:
    images = min(counts.validation, arm.images or counts.validation)
    return PlanRow("attack", cohort, what, "gradient steps", images * gradient_steps(arm), 0, counts.basis, arm_name)
