"""Which images make one curve, and counts of yes and no by patient as rows with a rate and its interval."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from advassay.analysis.intervals import Counts, counts, intervals
from advassay.analysis.outcome_arrays import OutcomeArrays, first_step_size, load_outcomes, runs_of, step_sizes
from advassay.errors import SpecError
from advassay.records.store_reader import Records

BY = ("cohort", "image_type", "class", "arm", "step_size")


@dataclass(frozen=True)
class RunSubset:
    """Images of one run that enter one curve."""

    pack: OutcomeArrays
    images: np.ndarray
    """(image,) bool."""
    key: dict[str, Any]
    """cohort, image_type, arm, step_size, train_size, seed and, with by="class", class."""


def group_columns(by: str | Sequence[str], known: Sequence[str] = BY) -> tuple[str, ...]:
    """`by` as names. Raises SpecError for an unknown or no name."""
    names = (by,) if isinstance(by, str) else tuple(by)
    if not names or not set(names) <= set(known):
        raise SpecError(f"by: one or more of {', '.join(known)}, got {by!r}.", 'For example by=("cohort", "class").')
    return names


def run_subsets(
    records: Records, by: tuple[str, ...], arm: str | None = None, step_size: str | None = None, *,
    networks: bool = False,
) -> list[list[RunSubset]]:  # fmt: skip
    """The curves to draw: each a list of parts that are pooled; `networks=True`: every network apart, else the main."""
    arms = records.arms if "arm" in by and arm is None else [arm]
    packs = [pack for name in arms for pack in _packs(records, name, step_size, "step_size" in by, networks)]
    found: dict[tuple[Any, ...], list[RunSubset]] = {}
    for part in (part for pack in packs for part in _parts(pack, "class" in by)):
        network = (part.key["train_size"], part.key["seed"]) if networks else ()
        found.setdefault((*(part.key[name] for name in by if name in part.key), *network), []).append(part)
    return list(found.values())


def _packs(
    records: Records, arm: str | None, step_size: str | None, every: bool, networks: bool
) -> list[OutcomeArrays]:
    """One pack a run, or one a run and step size."""
    runs = runs_of(records, arm, primary=not networks)
    if every and step_size is None:
        return [load_outcomes(run, name) for run in runs for name in step_sizes(run)]
    return [load_outcomes(run, step_size or first_step_size(records, run)) for run in runs]


def _parts(pack: OutcomeArrays, by_class: bool) -> Iterator[RunSubset]:
    header = pack.header
    key = {
        "cohort": header.cohort, "image_type": header.image_type, "arm": header.arm, "step_size": pack.step_size,
        "train_size": header.train_size, "seed": header.seed,
    }  # fmt: skip
    if not by_class:
        yield RunSubset(pack, np.ones(len(pack.labels), bool), key)
        return
    for label, name in enumerate(header.class_names):
        yield RunSubset(pack, pack.labels == label, key | {"class": name})


Numerator = tuple[dict[str, Any], np.ndarray, np.ndarray]
"""(coordinates of a point, events (image,), included (image,))."""

Numerators = Callable[[OutcomeArrays], list[Numerator]]


def rate_table(groups: list[list[RunSubset]], cells: Numerators, level: float, seed: int = 0) -> pl.DataFrame:
    """One row per group and coordinates: what all parts share, coordinates, rate, low, high, n, events, patients,
    method. Images of several runs are pooled where their coordinates agree.
    """
    rows = [row for group in groups for row in _rows(group, cells, level, seed)]
    return pl.DataFrame(rows, infer_schema_length=None)


def shared_key(group: list[RunSubset]) -> dict[str, Any]:
    """What all parts of a group agree on."""
    return {k: v for k, v in group[0].key.items() if all(part.key.get(k) == v for part in group)}


def _rows(group: list[RunSubset], cells: Numerators, level: float, seed: int) -> list[dict[str, Any]]:
    of_parts = [(part, cells(part.pack)) for part in group]
    places = {tuple(at.values()): at for _, found in of_parts for at, _, _ in found}
    if not places:
        return []
    points = pooled(of_parts)
    low, high, method = intervals(points, level, seed)
    shared = shared_key(group)
    numbers = {"rate": _or_none(points.rate), "low": _or_none(low), "high": _or_none(high)}
    whole = {"n": points.n, "events": points.total, "patients": points.patients}
    return [
        shared
        | at
        | {name: values[i] for name, values in numbers.items()}
        | {name: int(values[i]) for name, values in whole.items()}
        | {"method": method[i]}
        for i, at in enumerate(places.values())
    ]


def pooled(of_parts: list[tuple[RunSubset, list[Numerator]]]) -> Counts:
    """Counts (point, patient) over all parts, points as they appear; a patient of two cohorts is one patient."""
    places = list(dict.fromkeys(tuple(at.values()) for _, found in of_parts for at, _, _ in found))
    names = np.concatenate([part.pack.patient_ids for part, _ in of_parts])
    codes = np.unique(names, return_inverse=True)[1]
    number = int(codes.max(initial=-1)) + 1
    events, images = np.zeros((len(places), number)), np.zeros((len(places), number))
    row = {place: i for i, place in enumerate(places)}
    start = 0
    for part, found in of_parts:
        columns = codes[start : start + len(part.pack.patient_ids)]
        start += len(columns)
        included = np.stack([inside & part.images for _, _, inside in found])
        counted = counts(np.stack([fell for _, fell, _ in found]), included, part.pack.patients, len(columns))
        at = np.ix_(np.array([row[tuple(coordinates.values())] for coordinates, _, _ in found]), columns)
        events[at] += counted.events
        images[at] += counted.images
    return Counts(events, images)


def _or_none(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
