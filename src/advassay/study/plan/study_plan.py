"""Find out what a study consists of and what the store already has; nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from advassay.records import open_records
from advassay.spec.attack_spec import Arm
from advassay.spec.study_spec import AttackSpec, Study
from advassay.store_documents import ArmRange, Preparation
from advassay.store_layout import TRAINING
from advassay.study.config.name_checks import check_names
from advassay.study.environment import RunEnvironment
from advassay.study.gradient_counts import Point, gradient_steps, missing_steps, reach_notes
from advassay.study.jobs import (
    MAIN_NETWORK,
    AttackJob,
    all_arms,
    attack_jobs,
    doubling_of,
    main_network,
    main_seeds,
    networks,
    series_arm,
)
from advassay.study.plan.cost_estimate import Estimator
from advassay.study.plan.image_counts import ImageCounts, count_images, network_warnings, warn_of_declared_counts
from advassay.study.plan.plan_rows import PASSES, RANGE_FINDING, STEPS, Plan, PlanRow
from advassay.study.plan.planned_controls import control_rows_prepared, control_rows_unprepared
from advassay.study.run.attack_header import recorded_images
from advassay.study.run.attack_stage import check_arms
from advassay.study.run.prepare_stage import Failures, check_image_sizes, each_cohort
from advassay.study.run.range_finding import (
    Search,
    check_tuning_images,
    is_found,
    read_ranges,
    searches,
    with_found_grids,
)
from advassay.study.run.train_stage import identity_of, recorded_start_weights

if TYPE_CHECKING:
    from advassay.cohorts import PreparedCohort


def plan(study: Study, site: RunEnvironment, *, timed: bool = True, failures: Failures | None = None) -> Plan:
    """What the study consists of and what the store at `site` already has.

    `timed`: measure this machine for a few seconds and estimate the time of what is missing; the network is then also
    tried on an image of each cohort's size. failures: takes the error of each cohort that cannot be formed, and the
    plan is that of the others; without it the first such error is raised.
    """
    check_names(study, site.store)
    check_arms(study.attack)
    check_image_sizes(study)
    counts = each_cohort(study, lambda name: count_images(study, name, site), failures)
    warn_of_declared_counts(counts)
    check_tuning_images(study, {name: found.tuning for name, found in counts.items()})
    wanted = searches(study)
    if wanted and counts:
        study = with_found_grids(study, site.store, list(counts), _main_networks(study, counts, site))
    if site.store.records.is_dir():
        open_records(site.store.root)  # warns of what is damaged: its rows count as missing below
    estimator = Estimator(study, site, timed)
    rows = [row for name, found in counts.items() for row in _cohort_rows(study, name, found, site, wanted)]
    return Plan(
        study.name,
        tuple(estimator.estimated(row) for row in rows),
        notes=(*_notes(study.attack), *_undecided_control(study, counts)),
        warnings=tuple(_warnings(study, counts, timed)),
    )


def _warnings(study: Study, counts: Mapping[str, ImageCounts], timed: bool) -> Iterator[tuple[str, str]]:
    """(cohort, sentence) of all cohorts; the network is tried on their sizes only where the machine is measured."""
    of_network = network_warnings(study) if timed else {}
    for name, found in counts.items():
        yield from ((name, text) for text in found.warnings)
        if name in of_network:
            yield name, of_network[name]


def _notes(attack: AttackSpec) -> Iterator[str]:
    for name in attack.arms:
        arm = attack.arm(name)
        if name not in attack.auto_arms:
            yield from reach_notes(name, arm)
            continue
        yield (
            f"Arm {name}: its {len(arm.epsilons)} amplitudes are found on tuning images when the study runs; until "
            f"then its cost is that of as many between {arm.epsilons[0]:g} and {arm.epsilons[-1]:g}."
        )


def _undecided_control(study: Study, counts: Mapping[str, ImageCounts]) -> Iterator[str]:
    """One sentence where the control with twice the iterations cannot decide question 3."""
    name = study.resolved_analysis().arm
    assert name is not None
    arm, plan = study.attack.arm(name), doubling_of(study, name)
    images = min((_attacked(arm, found) for found in counts.values()), default=0)
    if plan is not None and images and (text := plan.note(name, arm, images)):
        yield text


def _main_networks(study: Study, counts: Mapping[str, ImageCounts], site: RunEnvironment) -> dict[str, tuple[str, str]]:
    """Prepared cohort → (its identity, its main network's)."""
    from advassay.cohorts import open_cohort

    start = recorded_start_weights(study, site)
    found = {}
    for name in (name for name, numbers in counts.items() if numbers.is_prepared):
        cohort = open_cohort(site.store.cohort(name))
        main = next(networks(study, name, cohort))
        found[name] = (cohort.preparation.identity, identity_of(study, cohort, main, site, start_weights=start))
    return found


def _cohort_rows(
    study: Study, name: str, counts: ImageCounts, site: RunEnvironment, wanted: Sequence[Search]
) -> Iterator[PlanRow]:
    have = counts.images if counts.is_prepared else 0
    yield PlanRow("prepare", name, "images", "images", counts.images, have, counts.basis)
    known = counts.is_prepared
    yield from _known_rows(study, name, site, wanted) if known else _unknown_rows(study, name, counts, wanted)


def _known_rows(study: Study, name: str, site: RunEnvironment, wanted: Sequence[Search]) -> Iterator[PlanRow]:
    """Of a prepared cohort: every identity is known, so the store can be asked."""
    from advassay.cohorts import open_cohort
    from advassay.training import updates_for

    cohort = open_cohort(site.store.cohort(name))
    passes = updates_for(study.training, len(cohort.ids("training"))) * study.training.batch_size
    trained: set[str] = set()
    planned: dict[tuple[str, str], set[Point]] = {}
    start = recorded_start_weights(study, site)
    for network in networks(study, name, cohort):
        identity = identity_of(study, cohort, network, site, start_weights=start)
        done = passes if (site.store.classifier(identity) / TRAINING).exists() else 0
        if identity not in trained:
            yield PlanRow("train", name, network.what, PASSES, passes, done, "prepared")
        trained.add(identity)
        if network.primary:
            yield from _known_ranges(wanted, cohort, identity, site)
        for assignment in attack_jobs(study, network, cohort):
            attacked = planned.setdefault((identity, assignment.arm_name), set())
            if network.main or not assignment.points <= attacked:
                attacked |= assignment.points
                yield from _known_attack(name, network.what, identity, assignment, cohort.preparation, site)
    if not trained:
        yield from _brought_rows(study, name, cohort, site)


def _brought_rows(study: Study, name: str, cohort: PreparedCohort, site: RunEnvironment) -> Iterator[PlanRow]:
    """Of a cohort that nothing is trained on: the networks that its runs say were brought along."""
    preparation = cohort.preparation
    headers = [run.header for run in open_records(site.store.root).runs] if site.store.records.is_dir() else []
    brought = dict.fromkeys(h.classifier for h in headers if h.cohort_identity == preparation.identity)
    for classifier in brought:
        for assignment in all_arms(study, cohort, gallery=False):
            yield from _known_attack(name, f"network {classifier}", classifier, assignment, preparation, site)


def _known_attack(
    cohort: str, what: str, classifier: str, assignment: AttackJob, preparation: Preparation, site: RunEnvironment
) -> Iterator[PlanRow]:
    """A network attacked by an arm, and what runs beside it."""
    images, arm = len(assignment.image_ids), assignment.arm
    recorded = recorded_images(site.store, preparation, classifier, assignment)
    total = images * gradient_steps(arm)
    have = total - missing_steps(arm, images, recorded)
    what = f"{what}, arm {assignment.arm_name}"
    attack = PlanRow("attack", cohort, what, STEPS, total, have, "prepared", assignment.arm_name)
    yield attack
    yield from control_rows_prepared(site, preparation, classifier, assignment, attack)


def _known_ranges(
    wanted: Sequence[Search], cohort: PreparedCohort, classifier: str, site: RunEnvironment
) -> Iterator[PlanRow]:
    """Range-finding on a prepared cohort, with what the store holds of it."""
    ranges, preparation = read_ranges(site.store).arms, cohort.preparation
    for search in wanted:
        found = ranges.get(search.name, ArmRange()).cohorts
        done = is_found(search, found, preparation.cohort, preparation.identity, classifier)
        yield _range_row(search, preparation.cohort, len(search.sample(cohort)), "prepared", done=done)


def _range_row(search: Search, cohort: str, images: int, basis: str, *, done: bool) -> PlanRow:
    """Range-finding on a cohort's tuning images; those that the network gets wrong drop out of it."""
    total = images * search.gradient_steps
    what = f"{MAIN_NETWORK}, arm {search.name}, tuning images"
    return PlanRow(RANGE_FINDING, cohort, what, STEPS, total, total * done, basis, search.name, at_most=not done)


def _unknown_rows(study: Study, name: str, counts: ImageCounts, wanted: Sequence[Search]) -> Iterator[PlanRow]:
    """Of a cohort that is not prepared: what follows from its numbers of images."""
    from advassay.training import updates_for

    if not counts.training:
        return
    passes = updates_for(study.training, counts.training) * study.training.batch_size
    for seed in main_seeds(study, name):
        network = main_network(seed, primary=seed == study.training.seed)
        yield PlanRow("train", name, network, PASSES, passes, 0, counts.basis)
        if seed == study.training.seed:
            for search in wanted:
                yield _range_row(search, name, min(counts.tuning, search.images), counts.basis, done=False)
        for arm in study.attack.arms:
            attack = _unknown_attack(name, network, arm, study.attack.arm(arm), counts)
            yield attack
            images = _attacked(study.attack.arm(arm), counts)
            yield from control_rows_unprepared(study, attack, images)
    main, series = series_arm(study.attack)
    for what in _series(study, name, counts.training):
        yield PlanRow("train", name, what, PASSES, passes, 0, counts.basis)
        yield _unknown_attack(name, what, main, series, counts)


def _series(study: Study, name: str, training: int) -> Iterator[str]:
    """The members of a size series that are not main networks themselves."""
    spec, mains = study.cohorts[name], main_seeds(study, name)
    for size in spec.train_sizes:
        for seed in spec.train_seeds:
            images = round(size * training) if isinstance(size, float) else size
            if images != training or seed not in mains:
                yield f"{images} training images, seed {seed}"


def _unknown_attack(cohort: str, what: str, name: str, arm: Arm, counts: ImageCounts) -> PlanRow:
    steps = _attacked(arm, counts) * gradient_steps(arm)
    return PlanRow("attack", cohort, f"{what}, arm {name}", STEPS, steps, 0, counts.basis, name)


def _attacked(arm: Arm, counts: ImageCounts) -> int:
    """Images that the arm attacks."""
    return min(counts.validation, arm.images or counts.validation)
