"""Cells of yes and no, counted by patient, as rows with a rate, its interval and the method: every curve ends here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from advassay.analysis.groups import Part
from advassay.analysis.intervals import Counts, counts, intervals
from advassay.analysis.packed import Packed

Cell = tuple[dict[str, Any], np.ndarray, np.ndarray]
"""(coordinates of a point, events (image,), included (image,))."""

Cells = Callable[[Packed], list[Cell]]


def frame_of(groups: list[list[Part]], cells: Cells, level: float, seed: int = 0) -> pl.DataFrame:
    """One row per group and coordinates: what all parts share, coordinates, rate, low, high, n, events, patients,
    method. Images of several runs are pooled where their coordinates agree.
    """
    rows = [row for group in groups for row in _rows(group, cells, level, seed)]
    return pl.DataFrame(rows, infer_schema_length=None)


def shared_key(group: list[Part]) -> dict[str, Any]:
    """What all parts of a group agree on."""
    return {k: v for k, v in group[0].key.items() if all(part.key.get(k) == v for part in group)}


def _rows(group: list[Part], cells: Cells, level: float, seed: int) -> list[dict[str, Any]]:
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


def pooled(of_parts: list[tuple[Part, list[Cell]]]) -> Counts:
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
