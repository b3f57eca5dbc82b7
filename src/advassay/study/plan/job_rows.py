"""Jobs as rows of a plan: what each takes in all, and what the store already has of it.

How much is needed of what runs beside an arm (its controls, its re-run) is known only when the arm has run: until then
the rows say what it takes at most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import assert_never

from advassay.records import RunHeader, read_header
from advassay.records.feature_distances import readable_features
from advassay.spec.study_spec import Study
from advassay.store_documents import ArmRange
from advassay.store_layout import HEADER, TRAINING, Store
from advassay.study.gradient_counts import gradient_steps, missing_steps
from advassay.study.jobs import IMAGES, CohortFacts, Cost, Job
from advassay.study.plan.plan_rows import PlanRow
from advassay.study.range_search import is_found, read_ranges
from advassay.study.run.attack_job import gradient_masked_ids
from advassay.study.run.attacked_network import recorded_images, recorded_points
from advassay.study.run_request import RunRequest, run_request
from advassay.study.study_networks import MAIN_NETWORK

BESIDE = {"re-run": ", margin loss", "doubling": ", twice the iterations"}


def rows_of(job: Job, facts: CohortFacts, basis: str, study: Study, store: Store) -> Iterator[PlanRow]:
    """The rows of one job, one for each of its costs; `study`: with the amplitudes that were found."""
    network = "" if job.network is None else job.network.name(facts.training)
    for cost in job.costs:
        total, have, at_most = _taken(job, cost, facts, study, store)
        what = f"{network}, arm {job.arm}" if job.arm else network
        match job.stage:
            case "prepare":
                what = IMAGES
            case "range-finding":
                what = f"{MAIN_NETWORK}, arm {job.arm}, tuning images"
        what += BESIDE.get(cost.part, "")
        if cost.part == "scoring":
            what += f", scored by {cost.architecture or study.training.architecture}"
        yield PlanRow(
            cost.part, job.cohort, what, cost.unit, total, have, basis, job.arm, cost.architecture or "", at_most
        )


def _taken(job: Job, cost: Cost, facts: CohortFacts, study: Study, store: Store) -> tuple[int, int, bool]:
    """(units in all, units that the store has, whether the first is an upper bound)."""
    if facts.cohort is None:
        return cost.total, 0, cost.at_most
    match job.stage:
        case "prepare":
            return cost.total, cost.total, False
        case "train":
            done = (store.root / job.outputs[0] / TRAINING).exists()
            return cost.total, cost.total * done, False
        case "range-finding":
            done = _is_range_found(job, facts, store)
            return cost.total, cost.total * done, not done
        case "attack":
            request = run_request(job, facts.cohort, study)
            return cost.total, cost.total - _missing(job.outputs[0], request, store), False
        case "controls":
            return _of_controls(job, cost, run_request(job, facts.cohort, study), store)
        case "re-run":
            return _of_rerun(job, cost, run_request(job, facts.cohort, study), store)
        case "transfer" | "features":
            return _of_transfer(job, cost, run_request(job, facts.cohort, study), store)
        case _:
            assert_never(job.stage)


def _is_range_found(job: Job, facts: CohortFacts, store: Store) -> bool:
    assert facts.cohort is not None
    identity, search = facts.cohort.preparation.identity, job.search()
    classifier = job.inputs[-1].removeprefix("classifiers/")
    return is_found(
        search, read_ranges(store).arms.get(search.name, ArmRange()).cohorts, job.cohort, identity, classifier
    )


def _missing(place: str, request: RunRequest, store: Store) -> int:
    """Gradient steps that the run at `place` still lacks."""
    recorded = recorded_images(store, place.removeprefix("records/"), request.points)
    return missing_steps(request.arm, len(request.image_ids), recorded)


def _of_transfer(job: Job, cost: Cost, request: RunRequest, store: Store) -> tuple[int, int, bool]:
    """What of the attack is still needed for some network that lacks its scores; scoring in proportion."""
    held = [recorded_points(store.root / place, request.points) for place in job.outputs]
    if job.study.attack.features:
        measured = Counter(point for place in job.outputs for point in _measured(store.root / place))
        held.append({point: measured[point] for point in request.points})
    least = {point: min(each[point] for each in held) for point in request.points}
    images = len(request.image_ids)
    if cost.part == job.stage:
        return cost.total, cost.total - missing_steps(request.arm, images, least), False
    lacking = sum(images - min(images, found) for found in least.values()) / max(1, images * len(least))
    return cost.total, round(cost.total * (1 - lacking)), False


def _measured(folder: Path) -> Iterator[tuple[str, float]]:
    """Points of the rows of features.parquet, which the source's own run alone has."""
    yield from readable_features(folder).select("step_size", "epsilon").iter_rows()


def _header(place: str, store: Store) -> RunHeader | None:
    folder = store.root / place
    return read_header(folder) if (folder / HEADER).exists() else None


def _of_controls(job: Job, cost: Cost, request: RunRequest, store: Store) -> tuple[int, int, bool]:
    header = _header(job.outputs[0], store)
    controls = None if header is None else header.controls
    if cost.part == "doubling":
        assert request.doubling is not None
        done = request.doubling.is_done(controls, request.arm, len(request.image_ids))
    else:
        done = controls is not None
    return cost.total, cost.total * done, cost.at_most


def _of_rerun(job: Job, cost: Cost, request: RunRequest, store: Store) -> tuple[int, int, bool]:
    """Of images whose gradient vanished: as many as the run has shown, all of them until it is complete."""
    from advassay.attacks import linked_rerun

    again, declared = linked_rerun(request.arm), job.inputs[-1]
    assert again is not None
    settled = _header(declared, store) is not None and not _missing(declared, request, store)
    images = len(request.image_ids)
    if settled:
        images = len(gradient_masked_ids(store, declared.removeprefix("records/"), request))
    total = images * gradient_steps(again)
    recorded = recorded_images(store, job.outputs[0].removeprefix("records/"), request.points)
    return total, total - missing_steps(again, images, recorded), not settled
