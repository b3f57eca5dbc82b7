"""Range-finding, done: each tuning image of a cohort attacked along the ladder. No validation image is touched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING

from advassay.errors import CohortError
from advassay.progress import Progress
from advassay.spec.attack_spec import step_size_name
from advassay.spec.study_spec import Study
from advassay.store_documents import ArmRange, CohortRange
from advassay.study.environment import RunEnvironment, begun
from advassay.study.jobs import STEPS
from advassay.study.range_search import (
    ROUNDS,
    RUNGS,
    Search,
    check_tuning_images,
    is_found,
    keep_grids,
    keep_range,
    range_of,
    read_ranges,
    searches,
)
from advassay.study.run.execution_config import WorkloadOf, choose_execution_config
from advassay.success import correct_on_clean, has_succeeded
from advassay.trajectory import TrajectoryRows

if TYPE_CHECKING:
    from advassay.attacks.engine.preflight import PreflightCache
    from advassay.classifier import Classifier
    from advassay.cohorts import PreparedCohort
    from advassay.store_documents import ExecutionConfig
    from advassay.study.run.attacked_network import AttackedNetwork


def find_range(
    search: Search, cohort: PreparedCohort, network: AttackedNetwork, workload: WorkloadOf, site: RunEnvironment
) -> CohortRange:
    """What range-finding says of a cohort's main network: from the store, or found now and kept there.

    Raises CohortError for a cohort without tuning images, or of which the network classifies none correctly.
    """
    preparation = cohort.preparation
    check_tuning_images(search.name, {preparation.cohort: len(cohort.ids("tuning"))})
    known = read_ranges(site.store).arms.get(search.name, ArmRange()).cohorts
    if is_found(search, known, preparation.cohort, preparation.identity, network.identity):
        return known[preparation.cohort]
    counts, attacked = _attacked(search, cohort, network, workload, site)
    found = range_of(search, counts, attacked, preparation.identity, network.identity)
    keep_range(site.store, search, preparation.cohort, found)
    return found


def find_ranges(
    study: Study, cohort: PreparedCohort, network: AttackedNetwork, workload: WorkloadOf, site: RunEnvironment
) -> Study:
    """A study of one cohort with its amplitudes in place of `epsilons: auto`, found now where the store lacks them."""
    for search in searches(study):
        find_range(search, cohort, network, workload, site)
    preparation = cohort.preparation
    return keep_grids(study, site.store, {preparation.cohort: (preparation.identity, network.identity)})


def _attacked(
    search: Search, cohort: PreparedCohort, network: AttackedNetwork, workload: WorkloadOf, site: RunEnvironment
) -> tuple[list[int], int]:
    """(attackable images that are misclassified at or below each rung of the ladder, all attackable ones)."""
    from advassay.attacks.engine.preflight import PreflightCache

    ids, name, classifier = search.sample(cohort), cohort.preparation.cohort, network()
    config = choose_execution_config(
        classifier,
        cohort.images(ids[:1])[0],
        architecture=network.architecture,
        precision=search.arm.precision,
        site=site,
        workload=workload,
    )
    known = PreflightCache()
    task = f"range-finding of arm {search.name}, {name}"
    with begun(site.progress, task, len(ids) * search.gradient_steps, STEPS) as progress:
        place = smallest_rungs(ids, partial(_misclassified, search, cohort, classifier, config, known, progress))
    counts = [sum(rung == tried for rung in place.values()) for tried in range(RUNGS)]
    if not place:
        raise CohortError(
            f"cohorts.{name}: a network that classifies some of its tuning images correctly is needed to find "
            f"amplitudes, got none of {len(ids)} right.",
            f"Give attack.arms.{search.name} its epsilons, or train the network longer.",
        )
    return list(accumulate(counts)), len(place)


def smallest_rungs(image_ids: Sequence[str], attack: Callable[[Mapping[str, int]], dict[str, bool]]) -> dict[str, int]:
    """image_id → the smallest rung of the ladder at which it falls, RUNGS where it falls at none; by bisection.

    `attack(image_id → rung)` says of each attackable image whether it falls there; images it leaves out are dropped.
    An image that falls at one amplitude is taken to fall at every larger one, since the balls are nested.
    """
    span = dict.fromkeys(image_ids, (0, RUNGS))
    for _ in range(ROUNDS):
        at = {image: (low + high) // 2 for image, (low, high) in span.items()}
        fell = attack(at) if at else {}
        span = {i: (span[i][0], at[i]) if fell[i] else (at[i] + 1, span[i][1]) for i in span if i in fell}
    return {image: low for image, (low, _) in span.items()}


def _misclassified(
    search: Search,
    cohort: PreparedCohort,
    classifier: Classifier,
    config: ExecutionConfig,
    known: PreflightCache,
    progress: Progress,
    at: Mapping[str, int],
) -> dict[str, bool]:
    """Of each attackable image, whether the arm misclassifies it at its rung."""
    from advassay.attacks import Item
    from advassay.attacks.stream import stream

    arm, step_size = search.arm, step_size_name(search.arm.step_sizes[0])
    items = (
        Item(image_id, image, label, frozenset({(step_size, arm.epsilons[at[image_id]])}))
        for image_id, image, label in cohort.stream(list(at))
    )
    enough = search.success == "any"
    run = stream(
        classifier,
        items,
        arm,
        shape=config,
        progress=progress,
        expected_images=len(at),
        first_success_only=enough,
        known=known,
    )
    rows = TrajectoryRows.concatenate(list(run))
    logits = rows.logits.swapaxes(0, 1)
    down, counted = has_succeeded(logits, rows.label, search.success)[-1], correct_on_clean(logits, rows.label)
    return {str(i): bool(fell) for i, fell, kept in zip(rows.image_id, down, counted, strict=True) if kept}
