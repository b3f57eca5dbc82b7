"""What the study asked for and the store does not hold (yet), in plain sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import ValidationError

from advassay.cohort_spec import DESCRIPTIVE
from advassay.documents import Preparation
from advassay.records.header import RunHeader
from advassay.records.store import Records
from advassay.specs import CohortSpec, Study


def missing(records: Records, runs: Sequence[RunHeader], study: Study | None) -> list[str]:
    """One sentence per gap: cohorts not attacked, arms or amplitudes not run, networks of a size series, damage."""
    gaps = [] if study is None else [gap for name in study.cohorts for gap in _of_cohort(records, runs, study, name)]
    broken = [
        f"Run {run_id}: {len(shards)} damaged shards cannot be read; their rows count as missing."
        for run_id, shards in records.damaged.items()
    ]
    stopped = [
        f"Cohort {run.cohort}, arm {run.arm}: the attack was stopped before its end; what it had recorded is shown."
        for run in runs
        if run.cost.sessions_finished == 0
    ]
    return gaps + stopped + broken


def _of_cohort(records: Records, runs: Sequence[RunHeader], study: Study, name: str) -> Iterator[str]:
    attacked = {header.arm for header in runs if header.cohort == name and header.primary}
    if not attacked:
        trained = any(document.cohort == name and document.full for document in records.trainings)
        state = (
            "trained but not attacked"
            if trained
            else "prepared only"
            if name in records.preparations
            else "not prepared"
        )
        yield f"Cohort {name}: {state}; it is in no figure and no conclusion."
        return
    if name in records.preparations and _has_other_rules(records.preparations[name], study.cohorts[name]):
        yield f"Cohort {name}: the study states other rules than it was prepared by; the earlier ones are shown."
    lacking = [arm for arm in study.attack.arms if arm not in attacked]
    if lacking:
        yield f"Cohort {name}: not attacked by arm {', '.join(lacking)}."
    yield from _amplitudes(runs, study, name)
    yield from _series(runs, study, name)


def _has_other_rules(preparation: Preparation, asked: CohortSpec) -> bool:
    """Whether the cohort was prepared by other rules than the study states now, as where the new ones form none."""
    try:
        made = CohortSpec.model_validate(preparation.spec)
    except ValidationError:
        return False  # written by another version of the program: it cannot be told
    both = [
        (one if one.region is None else one.model_copy(update={"region": one.region.without_folders()})).model_dump(
            mode="json", by_alias=True, exclude=DESCRIPTIVE
        )
        for one in (made, asked)
    ]
    return both[0] != both[1]


def _amplitudes(runs: Sequence[RunHeader], study: Study, name: str) -> Iterator[str]:
    for header in runs:
        if header.cohort != name or not header.primary or header.arm not in study.attack.arms:
            continue
        recorded = {point.epsilon for point in header.points}
        lacking = [f"{e:g}" for e in study.attack.arm(header.arm).epsilons if e not in recorded]
        short = [f"{p.epsilon:g}" for p in header.points if 0 < p.images < header.images]
        if lacking:
            yield f"Cohort {name}, arm {header.arm}: ε {', '.join(lacking)} not recorded."
        if short:
            yield f"Cohort {name}, arm {header.arm}: fewer than {header.images} images at ε {', '.join(short)}."


def _series(runs: Sequence[RunHeader], study: Study, name: str) -> Iterator[str]:
    spec = study.cohorts[name]
    planned = len(spec.train_sizes) * len(spec.train_seeds)
    main = next(iter(study.attack.arms))
    found = {(h.train_size, h.seed) for h in runs if h.cohort == name and h.arm == main}
    if len(found) < planned:
        yield f"Cohort {name}: {len(found)} of {planned} networks of the training-size series are attacked."
