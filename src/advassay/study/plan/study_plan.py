"""Find out what a study consists of and what the store already has; nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from advassay.records import open_records
from advassay.spec.study_spec import AttackSpec, Study
from advassay.study.config.name_checks import check_arms, check_classes, check_names
from advassay.study.environment import RunEnvironment
from advassay.study.gradient_counts import reach_notes
from advassay.study.jobs import CohortFacts, attacked_images, doubling_of, enumerate_jobs
from advassay.study.plan.cost_estimate import Estimator
from advassay.study.plan.image_counts import ImageCounts, count_images, network_warnings, warn_of_declared_counts
from advassay.study.plan.job_rows import rows_of
from advassay.study.plan.plan_rows import Plan
from advassay.study.range_search import check_tuning_parts, with_found_grids
from advassay.study.run.prepare_stage import Failures, check_image_sizes, check_networks, each_cohort
from advassay.study.run.train_stage import recorded_start_weights
from advassay.study.study_networks import ExternalNetwork, network_identity, networks


def plan(study: Study, site: RunEnvironment, *, timed: bool = True, failures: Failures | None = None) -> Plan:
    """What the study consists of and what the store at `site` already has.

    `timed`: measure this machine for a few seconds and estimate the time of what is missing; the network is then also
    tried on an image of each cohort's size. failures: takes the error of each cohort that cannot be formed, and the
    plan is that of the others; without it the first such error is raised.
    """
    check_names(study, site.store)
    check_arms(study.attack)
    check_classes(study)
    check_image_sizes(study)
    check_networks(study)
    counts = each_cohort(study, lambda name: count_images(study, name, site), failures)
    warn_of_declared_counts(counts)
    check_tuning_parts(study, {name: found.tuning for name, found in counts.items()})
    facts = cohort_facts(study, counts, site)
    found = with_found_grids(study, site.store, list(counts), _main_networks(study, facts)) if counts else study
    if site.store.records.is_dir():
        open_records(site.store.root)  # warns of what is damaged: its rows count as missing below
    estimator = Estimator(found, site, timed)
    jobs = enumerate_jobs(study, facts, amplitudes=found, external=_external_networks(facts, site))
    rows = [row for job in jobs for row in rows_of(job, facts[job.cohort], counts[job.cohort].basis, found, site.store)]
    return Plan(
        study.name,
        tuple(estimator.estimated(row) for row in rows),
        notes=(*_notes(found.attack), *_undecided_control(found, counts)),
        warnings=tuple(_warnings(found, counts, timed)),
    )


def cohort_facts(study: Study, counts: Mapping[str, ImageCounts], site: RunEnvironment) -> dict[str, CohortFacts]:
    """Cohort → what jobs are listed with: its numbers of images and, where it is prepared, its images."""
    from advassay.cohorts import open_cohort

    start = recorded_start_weights(study, site)
    return {
        name: CohortFacts(
            found.training,
            found.tuning,
            found.validation,
            open_cohort(site.store.cohort(name)) if found.is_prepared else None,
            start,
            site.data,
        )
        for name, found in counts.items()
    }


def _external_networks(
    facts: Mapping[str, CohortFacts], site: RunEnvironment
) -> dict[str, tuple[ExternalNetwork, ...]]:
    """Of cohorts that nothing is trained on: the networks that their runs name."""
    of = {c.preparation.identity: name for name, f in facts.items() if (c := f.cohort) is not None and not f.training}
    if not of or not site.store.records.is_dir():
        return {}
    found: dict[str, dict[str, None]] = {name: {} for name in of.values()}
    for run in open_records(site.store.root).runs:
        if (name := of.get(run.header.cohort_identity or "")) is not None:
            found[name][run.header.classifier] = None
    return {name: tuple(map(ExternalNetwork, classifiers)) for name, classifiers in found.items()}


def _main_networks(study: Study, facts: Mapping[str, CohortFacts]) -> dict[str, tuple[str, str]]:
    """Prepared cohort with networks → (its identity, its main network's)."""
    found = {}
    for name, known in facts.items():
        if known.cohort is not None and known.training:
            main = next(networks(study, name))
            identity = network_identity(study, known.cohort, main, known.data, known.start_weights)
            found[name] = (known.cohort.preparation.identity, identity)
    return found


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
    images = min((attacked_images(arm, found.validation) for found in counts.values()), default=0)
    if plan is not None and images and (text := plan.note(name, arm, images)):
        yield text
