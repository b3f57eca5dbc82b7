"""Success and robust accuracy over ε, iteration, clean confidence or training size, with n and intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from advassay.analysis import bins
from advassay.analysis.intervals import Counts, counts, intervals
from advassay.analysis.packed import Packed, packed, step_sizes
from advassay.analysis.selection import nearest_epsilon, runs_of
from advassay.errors import SpecError
from advassay.records.store import Records
from advassay.success import Reading

Over = Literal["epsilon", "step", "clean_confidence", "train_size"]
OVER = ("epsilon", "step", "clean_confidence", "train_size")
BY = ("cohort", "image_type", "class", "arm", "step_size")

Cell = tuple[dict[str, Any], np.ndarray, np.ndarray]
"""(coordinates of a point, events (image,), included (image,))."""


@dataclass(frozen=True)
class Curve:
    """Points with intervals.

    frame columns: the names in `by` (and cohort, image_type, arm, step_size, train_size, seed where one value
    holds), the coordinates (epsilon, step, and for confidence bin, bin_low, bin_high), rate, low, high in [0, 1],
    n (images), events, patients, method (how the interval was made). rate is null where n is 0.
    """

    frame: pl.DataFrame
    quantity: str
    """attack_success_rate | robust_accuracy."""
    over: str
    by: tuple[str, ...]
    success: str
    level: float


def success_curve(
    records: Records, over: Over = "epsilon", by: str | Sequence[str] = "cohort", *, arm: str | None = None,
    epsilon: float | None = None, step: int | None = None, step_size: str | None = None, success: Reading = "last",
    level: float = 0.95, seed: int = 0,
) -> Curve:  # fmt: skip
    """Attack success rate = fallen / attackable (native misclassifications out of both; study protocol 4).

    over       "epsilon": at `step` (None = last) · "step": 1 … K at `epsilon` · "clean_confidence": ten bins over
               [0.5, 1.0] at `epsilon` and `step` · "train_size": every network of a cohort, one row each
    by         one or more of cohort, image_type, class (of the label), arm, step_size
    arm        None = the study's first (main) arm; with by="arm" every arm
    epsilon    None = the recorded one nearest to 0.02; the frame says which
    step_size  None = the run's first; "any" = fallen at any step size; with by="step_size" every one
    success    "last": at iterate k alone; "any": at an iterate ≤ k

    Raises SpecError for an argument that the records do not have.
    """
    if over == "epsilon" and epsilon is not None:
        raise SpecError(f"epsilon: not with over='epsilon', which shows every one, got {epsilon}.")
    groups = _groups(records, over, _names(by), arm, step_size)
    cells = _success_cells(over, epsilon, step, success)
    return Curve(_frame(groups, cells, level, seed), "attack_success_rate", over, _names(by), success, level)


def robust_accuracy_curve(
    records: Records, over: Literal["epsilon", "step"] = "epsilon", by: str | Sequence[str] = "cohort", *,
    arm: str | None = None, epsilon: float | None = None, step: int | None = None, step_size: str | None = None,
    success: Reading = "last", level: float = 0.95, seed: int = 0,
) -> Curve:  # fmt: skip
    """Share of all attacked images still classified correctly; arguments as `success_curve`.

    With over="step" it starts at step 0, the clean accuracy. `any`: correct at every iterate up to k.
    """
    if over not in ("epsilon", "step"):
        raise SpecError(f'over: "epsilon" or "step", got {over!r}.')
    groups = _groups(records, over, _names(by), arm, step_size)
    cells = _accuracy_cells(over, epsilon, step, success)
    return Curve(_frame(groups, cells, level, seed), "robust_accuracy", over, _names(by), success, level)


def _names(by: str | Sequence[str]) -> tuple[str, ...]:
    names = (by,) if isinstance(by, str) else tuple(by)
    if not names or not set(names) <= set(BY):
        raise SpecError(f"by: one or more of {list(BY)}, got {by!r}.")
    return names


@dataclass(frozen=True)
class _Part:
    """Images of one run that enter one curve."""

    pack: Packed
    images: np.ndarray
    """(image,) bool."""
    key: dict[str, Any]


def _groups(
    records: Records, over: str, by: tuple[str, ...], arm: str | None, step_size: str | None
) -> list[list[_Part]]:
    """The curves to draw: each a list of run parts that are pooled."""
    if over not in OVER:
        raise SpecError(f"over: one of {list(OVER)}, got {over!r}.")
    arms = records.arms if "arm" in by and arm is None else [arm]
    packs = [pack for name in arms for pack in _packs(records, name, step_size, "step_size" in by, over)]
    grouped: dict[tuple[Any, ...], list[_Part]] = {}
    for part in (part for pack in packs for part in _parts(pack, "class" in by)):
        network = (part.key["train_size"], part.key["seed"]) if over == "train_size" else ()
        grouped.setdefault((*(part.key[name] for name in by), *network), []).append(part)
    return list(grouped.values())


def _packs(records: Records, arm: str | None, step_size: str | None, every: bool, over: str) -> list[Packed]:
    """One pack a run, or one a run and step size."""
    runs = runs_of(records, arm, primary=over != "train_size")
    if every and step_size is None:
        return [packed(run, name) for run in runs for name in step_sizes(run)]
    return [packed(run, step_size) for run in runs]


def _parts(pack: Packed, by_class: bool) -> Iterator[_Part]:
    header = pack.header
    key = {
        "cohort": header.cohort, "image_type": header.image_type, "arm": header.arm, "step_size": pack.step_size,
        "train_size": header.train_size, "seed": header.seed,
    }  # fmt: skip
    if not by_class:
        yield _Part(pack, np.ones(len(pack.labels), bool), key)
        return
    for label, name in enumerate(header.class_names):
        yield _Part(pack, pack.labels == label, key | {"class": name})


def _success_cells(
    over: str, epsilon: float | None, step: int | None, success: Reading
) -> Callable[[Packed], list[Cell]]:
    def cells(pack: Packed) -> list[Cell]:
        fallen, k = pack.fallen(success), pack.step(step)
        if over == "epsilon":
            return [
                ({"epsilon": float(e), "step": k}, fallen[i, k], pack.attackable[i])
                for i, e in enumerate(pack.epsilons)
            ]
        at = pack.at(nearest_epsilon(pack, epsilon))
        here = {"epsilon": float(pack.epsilons[at])}
        if over == "step":
            return [(here | {"step": j}, fallen[at, j], pack.attackable[at]) for j in range(1, k + 1)]
        if over == "train_size":
            return [(here | {"step": k}, fallen[at, k], pack.attackable[at])]
        classes = len(pack.header.class_names)
        inside = bins.members(pack.clean_confidence, classes) & pack.attackable[at]
        named = zip(bins.labels(classes), bins.edges(classes), inside, strict=True)
        return [
            (here | {"step": k, "bin": name, "bin_low": low, "bin_high": high}, fallen[at, k], members)
            for name, (low, high), members in named
        ]

    return cells


def _accuracy_cells(
    over: str, epsilon: float | None, step: int | None, success: Reading
) -> Callable[[Packed], list[Cell]]:
    def cells(pack: Packed) -> list[Cell]:
        k = pack.step(step)
        correct = pack.correct if success == "last" else np.logical_and.accumulate(pack.correct, axis=1)
        pack.fallen(success)  # refuses an unknown reading
        if over == "epsilon":
            return [
                ({"epsilon": float(e), "step": k}, correct[i, k], pack.present[i]) for i, e in enumerate(pack.epsilons)
            ]
        at = pack.at(nearest_epsilon(pack, epsilon))
        return [
            ({"epsilon": float(pack.epsilons[at]), "step": j}, correct[at, j], pack.present[at]) for j in range(k + 1)
        ]

    return cells


def _frame(groups: list[list[_Part]], cells: Callable[[Packed], list[Cell]], level: float, seed: int) -> pl.DataFrame:
    rows = [row for group in groups for row in _rows(group, cells, level, seed)]
    return pl.DataFrame(rows, infer_schema_length=None)


def _rows(group: list[_Part], cells: Callable[[Packed], list[Cell]], level: float, seed: int) -> list[dict[str, Any]]:
    """The points of one curve; images of several runs are pooled where their coordinates agree."""
    of_parts = [(part, cells(part.pack)) for part in group]
    places = {tuple(at.values()): at for _, found in of_parts for at, _, _ in found}
    if not places:
        return []
    points = _pooled(of_parts, list(places))
    low, high, method = intervals(points, level, seed)
    shared = {k: v for k, v in group[0].key.items() if all(part.key.get(k) == v for part in group)}
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


def _pooled(of_parts: list[tuple[_Part, list[Cell]]], places: list[tuple[Any, ...]]) -> Counts:
    """Counts (point, patient) over all parts; a patient of two cohorts is one patient."""
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
