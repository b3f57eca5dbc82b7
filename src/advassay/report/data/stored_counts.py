"""What the store holds now, at which ε, and what the study asked for and it lacks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import polars as pl
import polars.selectors as cs
from pydantic import ValidationError

from advassay.records.row_shards import FLAG
from advassay.records.run_header import Point, RunHeader
from advassay.records.run_reader import Run
from advassay.records.store_reader import Records
from advassay.spec.cohort_spec import DESCRIPTIVE, CohortSpec
from advassay.spec.study_spec import Study
from advassay.store_documents import Preparation


def shared_epsilons(headers: Iterable[RunHeader], step_size: str | None = None) -> list[float]:
    """Amplitudes above 0 that every run holds at `step_size` (None = its first), rising; empty without any."""
    grids = [_grid(header, step_size) for header in headers]
    grids = [grid for grid in grids if grid]
    return sorted(set.intersection(*grids)) if grids else []


def _grid(header: RunHeader, step_size: str | None) -> set[float]:
    points = [point for point in header.points if point.epsilon > 0]
    return {point.epsilon for point in points if point.step_size == (step_size or points[0].step_size)}


def nearest_available(wanted: float, available: list[float]) -> float | None:
    """The available amplitude nearest to the wanted one; the smaller of two; None where none is available.

    >>> nearest_available(0.02, [0.01, 0.05]), nearest_available(0.02, [])
    (0.01, None)
    """
    return min(available, key=lambda epsilon: (abs(epsilon - wanted), epsilon)) if available else None


def headers_with_stored_counts(records: Records) -> list[RunHeader]:
    """The current declared runs that hold a row at some ε > 0, in the store's order; points by step size, then ε."""
    headers = [_counted(run) for run in records.runs]
    return [header for header in headers if any(point.epsilon > 0 for point in header.points)]


def _counted(run: Run) -> RunHeader:
    index = run.index
    points = tuple(
        Point(step_size=name, epsilon=epsilon, images=rows.stop - rows.start)
        for (name, epsilon), rows in index.points().items()
    )
    changes: dict[str, object] = {"points": points, "images": len(np.unique(index.image)), "rows": len(index)}
    if run.header.rows != len(index):
        changes["flag_counts"] = {name: int(run.column(FLAG + name).sum()) for name in index.flags}
    return run.header.model_copy(update=changes)


def describe_gaps(records: Records, runs: Sequence[RunHeader], study: Study | None) -> list[str]:
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


def null_non_finite(frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` with null where a float is NaN or infinite, e.g. the PSNR (dB) of an image that did not change.

    >>> null_non_finite(pl.DataFrame({"psnr": [float("inf"), 37.5]}))["psnr"].to_list()
    [None, 37.5]
    """
    return frame.with_columns(pl.when(cs.float().is_finite()).then(cs.float()))


def has_size_series(runs: Iterable[RunHeader], arm: str) -> bool:
    """Whether networks of one cohort that differ in training size were attacked by the arm."""
    sizes: dict[str, set[int | None]] = {}
    for header in runs:
        if header.arm == arm:
            sizes.setdefault(header.cohort, set()).add(header.train_size)
    return any(len(found) > 1 for found in sizes.values())


def series_arm(runs: Sequence[RunHeader], main: str) -> str:
    """The arm of figure 3d: the main one if it attacked a size series, else the first that did, else the main one."""
    arms = [main, *(h.arm for h in sorted(runs, key=lambda header: header.arm_position))]
    return next((arm for arm in arms if has_size_series(runs, arm)), main)
